import math

import pytest
import torch

from tutelage.methods.ruder_adapt import RuderAdapt
from tutelage.types import BadInput

A, B = [math.log(2), 0.0, 0.0], [0.0, math.log(8), 0.0]  # 1/2, 1/4, 1/4 and 1/10, 8/10, 1/10


def test_teachers_count_as_their_sources_are_like_the_target():
    teachers = torch.tensor([[A], [B]])
    torch.testing.assert_close(RuderAdapt().mixed(teachers), torch.tensor([[0.3, 0.525, 0.175]]))
    weighted = RuderAdapt(sources=(3.0, 1.0)).mixed(teachers)
    torch.testing.assert_close(weighted, torch.tensor([[0.4, 0.3875, 0.2125]]))
    with pytest.raises(BadInput, match="2 weights for 1 teachers"):
        RuderAdapt(sources=(1.0, 1.0)).mixed(teachers[:1])
    with pytest.raises(BadInput, match="not all 0"):
        RuderAdapt(sources=(0.0, 0.0))


def test_terms_by_hand(echoing, saying, say):
    """A student that says nothing: every cross entropy is ln 3. Half of the pool is believed."""
    method = RuderAdapt(soft=0.25, temperature=2.0, top=0.5, unsupervised=0.5, labelled=3.0)
    nothing = [[0.0] * 3] * 2
    batch = saying(strong=[[0.0] * 3], labels=[1], pool_strong=nothing)
    batch = batch._replace(unlabeled=batch.unlabeled._replace(weak=say(nothing, [A, B])))
    expected = {"task": 3.0, "distillation": 0.5 * 0.25, "pseudo": 0.5 * 0.75 * 0.5}
    expected = {name: torch.tensor(value * math.log(3)) for name, value in expected.items()}
    torch.testing.assert_close(method.loss(echoing(method), batch), expected)


def test_the_image_that_lies_clearest_in_one_cluster_is_believed(echoing, saying, say):
    """Embeddings are the teacher's logits: the last lies between two clusters, the first two make them."""
    method = RuderAdapt(soft=0.0, top=0.6, labelled=0.0)
    told = [[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [5.0, 4.9, 0.0]]
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=[[0.0] * 3] * 3)
    batch = batch._replace(unlabeled=batch.unlabeled._replace(weak=say([[0.0] * 3] * 3, told)))
    nets = echoing(method)
    method.loss(nets, batch)
    clear = nets.extra.see(torch.tensor(told), torch.tensor([0, 1, 0]), method.decay)
    assert clear[2] < clear[0]
    assert clear[2] < clear[1]
    torch.testing.assert_close(method.loss(nets, batch)["pseudo"], torch.tensor(2 / 3 * math.log(3)))


def test_what_a_student_says_is_softened_as_its_teacher_is_and_believed_as_it_is(echoing, saying, say):
    """At T = 2 the teacher says 1/6, 4/6, 1/6 and the student 1/4, 2/4, 1/4; at 1 the student says 4/6 of class 1."""
    method = RuderAdapt(soft=0.5, temperature=2.0, top=1.0)
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=[[0.0, math.log(4), 0.0]])
    batch = batch._replace(unlabeled=batch.unlabeled._replace(weak=say([0.0] * 3, [0.0, math.log(16), 0.0])))
    terms = method.loss(echoing(method), batch)
    torch.testing.assert_close(terms["distillation"], torch.tensor(0.5 * 4 / 3 * math.log(2)))
    torch.testing.assert_close(terms["pseudo"], torch.tensor(0.5 * math.log(1.5)))
