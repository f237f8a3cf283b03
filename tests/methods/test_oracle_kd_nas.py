import torch
import torch.nn.functional as F

from tutelage.methods.kd import KD
from tutelage.methods.oracle_kd_nas import OracleKDNAS
from tutelage.models.average import Frozen
from tutelage.models.committee import Committee

STUDENT, TEACHER = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]


def test_a_teacher_that_is_right_is_kd_and_one_that_is_wrong_is_silent(echoing, say, saying):
    method, images = OracleKDNAS(), say([STUDENT], [TEACHER])
    right = method.loss(echoing(method), saying(strong=images, labels=[0]))["oracle"]
    torch.testing.assert_close(right, torch.tensor(0.1 * 2.407606 + 0.9 * 1.319630), atol=1e-5, rtol=0)
    kd = KD(alpha=0.9, temperature=4.0)
    torch.testing.assert_close(right, sum(kd.loss(echoing(kd), saying(strong=images, labels=[0])).values()))
    wrong = method.loss(echoing(method), saying(strong=images, labels=[2]))["oracle"]
    torch.testing.assert_close(wrong, torch.tensor(0.407606), atol=1e-5, rtol=0)


def test_of_a_committee_only_those_who_are_right_are_heard(make_nets, batch):
    method = OracleKDNAS(share=0.6, temperature=2.0)
    nets = make_nets(method)
    members = [make_nets(method).teacher for _ in range(3)]
    images, labels = batch.labeled.strong, batch.labeled.labels
    loss = method.loss(nets._replace(teacher=Frozen(Committee(members))), batch)["oracle"]
    said = nets.student(images).logits
    told = torch.stack([member(images).logits for member in members])
    by_hand = []
    for i, label in enumerate(labels):
        right = [(logits[i] / 2).softmax(-1) for logits in told if logits[i].argmax() == label]
        hard = F.cross_entropy(said[i], label)
        if right:
            wanted = torch.stack(right).mean(0)
            soft = 4 * (wanted * (wanted.log() - (said[i] / 2).log_softmax(-1))).sum()
            hard = 0.4 * hard + 0.6 * soft
        by_hand.append(hard)
    torch.testing.assert_close(loss, torch.stack(by_hand).mean())
    some = (told.argmax(-1) == labels).any(0)
    assert some.any()
    assert not some.all()
