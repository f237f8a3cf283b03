import pytest
import torch

from tutelage.methods.kd import KD

STUDENT, TEACHER = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("temperature", "value"), [(1.0, 0.308994), (4.0, 0.331613)])
def test_values(echoing, say, saying, temperature, value):
    method = KD(alpha=0.9, temperature=temperature)
    terms = method.loss(echoing(method), saying(strong=say([STUDENT], [TEACHER]), labels=[2]))
    torch.testing.assert_close(terms["distillation"], torch.tensor(0.9 * value), atol=1e-5, rtol=0)
    torch.testing.assert_close(terms["task"], torch.tensor(0.1 * 0.407606), atol=1e-6, rtol=0)  # ln(1 + 1/e + 1/e^2)


def test_a_pool_image_counts_what_the_guard_allows(echoing, say, saying):
    """The labelled image agrees with the teacher (0), the pool's does not (0.308994)."""
    for unsupervised, share in ((1.0, 1 / 2), (0.5, 1 / 3), (0.0, 0.0)):
        method = KD(alpha=1.0, temperature=1.0, unsupervised=unsupervised)
        batch = saying(strong=say([STUDENT], [STUDENT]), labels=[2], pool_strong=say([STUDENT], [TEACHER]))
        loss = method.loss(echoing(method), batch)["distillation"]
        torch.testing.assert_close(loss, torch.tensor(share * 0.308994), atol=1e-6, rtol=0)


def test_labels_belong_to_the_labelled_image(echoing, saying):
    method = KD(alpha=0.0)
    batch = saying(strong=[STUDENT], labels=[2], pool_strong=[[9.0, 0.0, 0.0]])
    torch.testing.assert_close(method.loss(echoing(method), batch)["task"], torch.tensor(0.407606), atol=1e-6, rtol=0)


def test_mean_is_smaller_by_the_number_of_classes(echoing, say, saying):
    batch = saying(strong=say([STUDENT], [TEACHER]), labels=[2])
    of_rows, of_all = KD(alpha=1.0), KD(alpha=1.0, reduction="mean")
    ratio = of_rows.loss(echoing(of_rows), batch)["distillation"] / of_all.loss(echoing(of_all), batch)["distillation"]
    torch.testing.assert_close(ratio, torch.tensor(3.0))


def test_the_teacher_is_as_it_was_after_a_hop_of_an_assistant_chain(make_nets, batch):
    method = KD()
    nets = make_nets(method)
    before = {name: value.clone() for name, value in nets.teacher.state_dict().items()}
    nets.teacher.train()
    sum(method.loss(nets, batch).values()).backward()
    method.after_step(nets, 1)
    torch.testing.assert_close(dict(nets.teacher.state_dict()), before, rtol=0, atol=0)
