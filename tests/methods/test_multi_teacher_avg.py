import pytest
import torch

from tutelage.methods.kd import KD
from tutelage.methods.multi_teacher_avg import MultiTeacherAvg
from tutelage.models.average import Frozen
from tutelage.models.committee import Committee


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_equal_teachers_are_kd(make_nets, batch, mean):
    method = MultiTeacherAvg(alpha=0.7, temperature=3.0, unsupervised=0.5, mean=mean)
    nets = make_nets(method)
    expected = KD(alpha=0.7, temperature=3.0, unsupervised=0.5).loss(nets, batch)
    torch.testing.assert_close(method.loss(nets, batch), expected)
    same = nets._replace(teacher=Frozen(Committee([nets.teacher.net] * 3)))
    torch.testing.assert_close(method.loss(same, batch), expected)


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_the_order_of_teachers_does_not_matter_and_all_count(make_nets, batch, mean):
    method = MultiTeacherAvg(mean=mean)
    nets = make_nets(method)
    members = [make_nets(method).teacher.net for _ in range(3)]
    one, other, fewer = (
        method.loss(nets._replace(teacher=Frozen(Committee(chosen))), batch)["distillation"]
        for chosen in (members, members[::-1], members[:2])
    )
    torch.testing.assert_close(one, other)
    assert not torch.isclose(one, fewer)
