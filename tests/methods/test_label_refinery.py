import torch

from tutelage.losses.targets import soft_cross_entropy
from tutelage.methods.label_refinery import LabelRefinery

METHOD = LabelRefinery()


def test_labels_are_never_read(make_nets, batch):
    nets = make_nets(METHOD)
    nonsense = batch._replace(labeled=batch.labeled._replace(labels=torch.full((6,), 99)))
    torch.testing.assert_close(METHOD.loss(nets, batch), METHOD.loss(nets, nonsense))


def test_gradient_is_that_of_soft_cross_entropy(make_nets, batch):
    nets = make_nets(METHOD)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    parameters = list(nets.student.parameters())
    ours = torch.autograd.grad(METHOD.loss(nets, batch)["distillation"], parameters)
    target = nets.teacher(images).logits.softmax(-1)
    theirs = torch.autograd.grad(soft_cross_entropy(nets.student(images).logits, target).mean(), parameters)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_each_crop_gets_its_own_label(echoing, say, saying):
    """Two crops of one image: the student answers each as the teacher does, so nothing is left to learn."""
    crops = [[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]
    same = saying(strong=say(crops, crops), weak=[[9.0, 0.0, 0.0]] * 2, labels=[0, 0])
    swapped = saying(strong=say(crops, crops[::-1]), labels=[0, 0])
    nets = echoing(METHOD)
    torch.testing.assert_close(METHOD.loss(nets, same)["distillation"], torch.tensor(0.0), atol=1e-6, rtol=0)
    assert METHOD.loss(nets, swapped)["distillation"] > 0.1


def test_a_pool_image_counts_what_the_guard_allows(echoing, say, saying):
    batch = saying(strong=say([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]), labels=[0],
                   pool_strong=say([[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]]))  # fmt: skip
    for unsupervised, share in ((1.0, 1 / 2), (0.5, 1 / 3), (0.0, 0.0)):
        method = LabelRefinery(unsupervised=unsupervised)
        loss = method.loss(echoing(method), batch)["distillation"]
        torch.testing.assert_close(loss, torch.tensor(share * 1.150421), atol=1e-6, rtol=0)
