import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.losses.peers import general_weights, mixture
from tutelage.methods.kdcl import KDCL

STUDENT, PEER = [[2.0, 0.0, 0.0]], [[1.0, 1.0, -1.0]]  # from the strong and from the weak view
TARGETS = {
    "min_logit": [0.0, -2.0, -2.0],
    "naive": [2.0, 0.0, 0.0],
    "linear": [2.0, 0.0, 0.0],
    "general": [1.5, 0.5, -0.5],
}


@pytest.mark.parametrize("target", TARGETS)
def test_both_learn_labels_and_the_best_that_both_would_say(echoing, saying, target):
    method = KDCL(target=target, weight=0.5)
    terms = method.loss(echoing(method), saying(strong=STUDENT, weak=PEER, labels=[0]))
    said, told = (torch.tensor(x) for x in (STUDENT, PEER)), torch.tensor([TARGETS[target]])
    apart = [soft_label_kl(one, told, temperature=2.0) for one in said]
    torch.testing.assert_close(terms["distillation"], 0.5 * sum(apart), atol=1e-3, rtol=1e-3)
    lost = [F.cross_entropy(torch.tensor(one), torch.tensor([0])) for one in (STUDENT, PEER)]
    torch.testing.assert_close(terms["task"], sum(lost))


def test_the_views_are_taken_in_turn(echoing, saying):
    method = KDCL(peers=2)
    nets = echoing(method)
    said, _ = nets.extra(torch.tensor(STUDENT), *saying(strong=STUDENT, weak=PEER, labels=[0]).labeled)
    torch.testing.assert_close(said[:, 0], torch.tensor([*STUDENT, *PEER, *STUDENT]))


def test_errors_of_batches_before_weigh_the_networks(echoing, saying):
    method = KDCL(target="general", decay=0.5)
    nets, batch = echoing(method), saying(strong=STUDENT, weak=PEER, labels=[0])
    method.loss(nets, batch)
    errors = torch.tensor([*STUDENT, *PEER]).softmax(-1) - torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(nets.extra.covariance, 0.5 * torch.eye(2) + 0.5 * errors @ errors.T / 3)
    after = method.loss(nets, batch)["distillation"]
    said = torch.tensor([STUDENT, PEER])
    told = mixture(general_weights(0.5 * torch.eye(2) + 0.5 * errors @ errors.T / 3)[None], said)
    assert 1.5 < told[0, 0] < 2  # the student erred less
    torch.testing.assert_close(after, sum(soft_label_kl(one, told, temperature=2.0) for one in said))
