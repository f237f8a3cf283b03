import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.sequences import ctc, domain_frame_kl, string_nll, word_distillation

WORDS = torch.tensor([[0, 1, 2], [1, 2, -1]])  # END is 2


def test_an_answer_of_nothing_costs_ln_of_the_vocabulary_a_symbol():
    assert string_nll(torch.zeros(2, 3, 3), WORDS).item() == pytest.approx(math.log(3))


def test_padding_changes_nothing():
    logits, teacher = torch.randn(2, 3, 3), torch.randn(2, 3, 3)
    other, wider = logits.clone(), F.pad(WORDS, (0, 1), value=-1)
    other[1, 2] = torch.tensor([50.0, -50.0, 3.0])
    for loss in (string_nll, lambda s, w: word_distillation(s, teacher, w, share=0.5)):
        assert torch.equal(loss(logits, WORDS), loss(other, WORDS))
    assert string_nll(F.pad(logits, (0, 0, 0, 1)), wider).item() == pytest.approx(string_nll(logits, WORDS).item())
    assert ctc(torch.ones(2, 4, 3), wider).item() == pytest.approx(ctc(torch.ones(2, 4, 3), WORDS).item())


def test_of_a_sure_teacher_only_the_likeliest_symbol_is_learned():
    logits, teacher = torch.randn(2, 3, 3), 200 * F.one_hot(torch.tensor([[2, 0, 1], [0, 0, 0]]), 3).float()
    argmax = teacher.argmax(-1).masked_fill(WORDS < 0, -1)
    assert torch.allclose(word_distillation(logits, teacher, WORDS, share=1.0), string_nll(logits, argmax))
    assert torch.equal(word_distillation(logits, teacher, WORDS, share=0.0), string_nll(logits, WORDS))


def test_word_distillation_by_hand():
    """One place, an even student over two symbols of whatever teacher: ln 2; a student of 3 to 1 under an even one."""
    logits, words = torch.tensor([[[math.log(3), 0.0]]]), torch.tensor([[0]])
    found = word_distillation(logits, torch.zeros(1, 1, 2), words, share=0.5)
    nll, soft = -math.log(0.75), -0.5 * math.log(0.75) - 0.5 * math.log(0.25)
    assert found.item() == pytest.approx(0.5 * nll + 0.5 * soft)


def test_no_gradient_reaches_a_teacher():
    teacher = torch.randn(2, 3, 3, requires_grad=True)
    logits = torch.randn(2, 3, 3, requires_grad=True)
    word_distillation(logits, teacher, WORDS, share=0.5).backward()
    domain_frame_kl(logits, teacher[None], torch.zeros(2, dtype=torch.long)).backward()
    assert teacher.grad is None
    assert logits.grad is not None


def test_ctc_by_hand():
    """Two even frames over a symbol and the blank, and the string of that symbol: three of four alignments spell it."""
    assert ctc(torch.zeros(1, 2, 2), torch.tensor([[0, 1]])).item() == pytest.approx(-math.log(3 / 4))
    both = ctc(torch.zeros(2, 3, 2), torch.tensor([[0, 1, -1], [0, 0, 1]]))  # 6 of 8; 1 of 8, by two symbols
    assert both.item() == pytest.approx((-math.log(6 / 8) - math.log(1 / 8) / 2) / 2)


def test_the_blank_of_ctc_is_the_last_class():
    """In each of two frames 0 has 1/2, 1 has 1/3 and the blank 1/6: 00, 0_ and _0 spell 0, by a length of one."""
    logits = torch.tensor([1 / 2, 1 / 3, 1 / 6]).log().expand(1, 2, 3)
    assert ctc(logits, torch.tensor([[0, 2]])).item() == pytest.approx(-math.log(1 / 4 + 2 / 12))
    assert ctc(logits, torch.tensor([[1, 2]])).item() == pytest.approx(-math.log(1 / 9 + 2 / 18))
    assert ctc(logits, torch.tensor([[1, 0]])).item() == pytest.approx(-math.log(1 / 6) / 2)  # 10 alone


def test_divergence_of_frames_by_hand():
    """In each of six frames 3/4 and 1/4 against even."""
    teacher = torch.tensor([math.log(3), 0.0]).expand(1, 2, 3, 2)
    lost = domain_frame_kl(torch.zeros(2, 3, 2), teacher, torch.zeros(2, dtype=torch.long))
    assert lost.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_a_row_hears_its_own_domains_teacher_alone():
    logits, teachers = torch.randn(3, 4, 5), torch.randn(2, 3, 4, 5)
    own = torch.tensor([1, 1, 1])
    changed = teachers.clone()
    changed[0] += 3 * torch.randn(3, 4, 5)
    assert torch.equal(domain_frame_kl(logits, teachers, own), domain_frame_kl(logits, changed, own))
    assert domain_frame_kl(teachers[1], teachers, own).item() == pytest.approx(0, abs=1e-6)
    assert domain_frame_kl(teachers[1], teachers, torch.tensor([1, 0, 1])) > 0.01
