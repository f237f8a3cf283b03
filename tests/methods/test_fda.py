import pytest
import torch
import torch.nn.functional as F

from tutelage.data.fourier import in_style
from tutelage.methods.fda import FDA


def test_the_labelled_images_are_seen_in_the_style_of_the_pool(make_nets, batch):
    method = FDA(beta=0.2, strong=0.25)
    nets = make_nets(method)
    nets.student.eval()
    weak, strong, labels = batch.labeled
    views = [in_style(view, batch.unlabeled.weak, beta=0.2) for view in (weak, strong)]
    on_weak, on_strong = (F.cross_entropy(nets.student(view).logits, labels) for view in views)
    torch.testing.assert_close(method.loss(nets, batch)["task"], 0.75 * on_weak + 0.25 * on_strong)


def test_entropy_of_the_pool_by_hand(echoing, saying):
    """ln 3 of two classes in effect: entropy 0.811278 bits of two, over log2 3, to the fourth power."""
    method = FDA(entropy=2.0, unsupervised=0.5)
    said = [[1.098612, 0.0, -60.0]]
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=said)
    expected = torch.tensor(0.5 * 2 * (0.811278 / 1.584963) ** 4)
    torch.testing.assert_close(method.loss(echoing(method), batch)["entropy"], expected, atol=1e-5, rtol=0)


def test_what_was_written_of_the_pool_before_is_one_more_term(echoing, saying):
    method = FDA(pseudo=0.5, unsupervised=0.5)
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=[[1.0, 2.0, 3.0]] * 2, target=[[0.0, 1.0, 0.0]] * 2,
                   weight=[0.8, 0.0])  # fmt: skip
    expected = torch.tensor(0.5 * 0.5 * 0.8 * 1.407606 / 2)  # -log softmax([1, 2, 3])[1] is 1.407606
    torch.testing.assert_close(method.loss(echoing(method), batch)["pseudo"], expected)


@pytest.mark.parametrize("quiet", [{"unsupervised": 0.0}, {"styled": 0.0, "entropy": 0.0}])
def test_silenced_it_is_supervised_training(make_nets, batch, quiet):
    method = FDA(strong=1.0, **quiet)
    nets = make_nets(method)
    nets.student.eval()
    plain = F.cross_entropy(nets.student(batch.labeled.strong).logits, batch.labeled.labels)
    torch.testing.assert_close(sum(method.loss(nets, batch).values()), plain)
