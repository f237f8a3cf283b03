import pytest
import torch
from interrupted import continues

from tutelage.data.rows import Strings
from tutelage.losses.sequences import ctc, string_nll, word_distillation
from tutelage.models.readers import ReaderSpec, create_reader
from tutelage.train.settings import Optimiser
from tutelage.train.strings import NAT_KD, AccentCTC, SequenceKD, begin, fit, nearest
from tutelage.types import PAD, BadInput, Diverged

SETTINGS = Optimiser(warmup_steps=1, lr=0.01)
END = 3


def reader(kind="autoregressive", seed=0, **fields):
    torch.manual_seed(seed)
    return create_reader(ReaderSpec(kind=kind, trunk=4, width=16, **fields), classes=3, longest=2, size=8)


def batch(n=12):
    """Two things side by side, as bright as their class."""
    words = torch.stack([torch.arange(n) % 3, torch.arange(n) // 3 % 3, torch.full((n,), END)], dim=1)
    images = (words[:, :2].repeat_interleave(16, dim=1) / 2)[:, None, None].expand(n, 3, 8, 32)
    return Strings(images.contiguous(), words, words, torch.arange(n) % 2)


def trained(method, student, teachers=(), steps=2, data=None):
    torch.manual_seed(5)
    run = begin(student, SETTINGS)
    taken = list(fit(method, run, [data or batch()] * steps, SETTINGS, steps=steps, teachers=teachers))
    return run, taken


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_mix_of_nothing_is_plain_training_and_of_all_is_distillation():
    teacher, seen = reader(seed=1).eval(), batch()
    plain, _ = trained(SequenceKD(word=0.0), reader())
    real, _ = trained(SequenceKD(word=0.0, mix=0.0), reader(), [teacher])
    assert same(plain.student, real.student)
    told = seen._replace(words=teacher.read(seen.images, 5)[:, 0])
    assert not torch.equal(told.words, seen.words)
    distilled, _ = trained(SequenceKD(word=0.0, mix=1.0), reader(), [teacher])
    assert same(distilled.student, trained(SequenceKD(word=0.0), reader(), data=told)[0].student)
    assert not same(distilled.student, plain.student)


def test_a_mix_takes_each_row_from_one_of_both():
    teacher, seen = reader(seed=1).eval(), batch(60)
    words, best = SequenceKD(mix=0.5).targets(teacher, seen), teacher.read(seen.images, 5)[:, 0]
    distilled, real = (words == best).all(1), (words == seen.words).all(1)
    assert (distilled | real).all()
    assert 10 < distilled.sum() < 50


def test_several_hypotheses_are_all_of_the_beam():
    teacher, seen = reader(seed=1).eval(), batch()
    answers = teacher.read(seen.images, 5)
    drawn = torch.stack([SequenceKD(hypotheses=2).targets(teacher, seen) for _ in range(20)])
    places = (drawn[:, :, None] == answers[None]).all(-1)
    assert places[:, :, :2].any(-1).all()
    assert places.any(0)[:, :2].all()
    assert not places[:, :, 2:].any()


def test_of_a_beam_the_string_nearest_to_the_real_one():
    answers = torch.tensor([[[0, END, PAD], [1, 2, END], [1, 0, END]]])
    assert nearest(answers, torch.tensor([[1, 0, END]]), end=END).tolist() == [[1, 0, END]]
    assert nearest(answers, torch.tensor([[1, 1, END]]), end=END).tolist() == [[1, 2, END]]
    teacher, seen = reader(seed=1).eval(), batch()
    chosen = SequenceKD(choose="nearest").targets(teacher, seen)
    assert torch.equal(chosen, nearest(teacher.read(seen.images, 5), seen.words, end=END))


def test_words_are_learned_along_the_teachers_string():
    teacher, student, seen = reader(seed=1).eval(), reader().eval(), batch()
    words = teacher.read(seen.images, 5)[:, 0]
    wanted = word_distillation(student(seen.images, words), teacher(seen.images, words), words, share=0.3)
    assert torch.equal(SequenceKD(word=0.3).loss(student, [teacher], seen)["task"], wanted)
    real = string_nll(student(seen.images, seen.words), seen.words)
    assert torch.equal(SequenceKD(word=0.3).loss(student, [], seen)["task"], real)


def test_frames_of_weight_nothing_are_ctc_and_a_batch_of_one_domain_hears_one_teacher():
    student, seen = reader("ctc").eval(), batch()
    first, second, third = (reader("ctc", seed).eval() for seed in (1, 2, 3))
    terms = AccentCTC(weight=0.0).loss(student, [first, second], seen)
    assert sum(terms.values()) == ctc(student(seen.images, seen.words), seen.words)
    one = seen._replace(domains=torch.ones(12, dtype=torch.long))
    found = [AccentCTC().loss(student, pair, one)["frames"] for pair in ([first, second], [third, second])]
    assert torch.equal(*found)
    assert not torch.equal(found[0], AccentCTC().loss(student, [second, first], one)["frames"])


@pytest.mark.parametrize("kind", ["autoregressive", "parallel", "ctc"])
def test_reads_strings_of_two_symbols(kind):
    data = batch(9)
    method = AccentCTC() if kind == "ctc" else NAT_KD
    run, taken = trained(method, reader(kind), steps=60, data=data)
    assert taken[-1].terms["task"] < 0.2 * taken[0].terms["task"]
    assert torch.equal(run.student.eval().read(data.images)[:, 0], data.words)


@pytest.mark.parametrize(
    ("method", "kind"), [(SequenceKD(mix=0.5, hypotheses=3), "autoregressive"), (AccentCTC(), "ctc")]
)
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(method, kind, tmp_path):
    teachers = [reader(kind, seed).eval() for seed in ((1, 2) if kind == "ctc" else (1,))]
    continues(
        lambda: begin(reader(kind, dropout=0.3), SETTINGS),
        lambda run, seen: fit(method, run, seen, SETTINGS, steps=4, teachers=teachers),
        [batch()] * 4, 2, tmp_path,
    )  # fmt: skip


def test_a_loss_that_is_not_finite_stops_before_it_changes_anything():
    data, run = batch(), begin(reader(), SETTINGS)
    before = {name: value.clone() for name, value in run.student.named_parameters()}
    data.images[0] = torch.nan
    with pytest.raises(Diverged, match="step 1"):
        list(fit(NAT_KD, run, [data], SETTINGS, steps=1))
    assert all(torch.equal(value, before[name]) for name, value in run.student.named_parameters())


def test_works_and_readers_that_do_not_fit_are_refused():
    for method, student, teachers in (
        (AccentCTC(), reader(), []),
        (NAT_KD, reader("ctc"), []),
        (SequenceKD(), reader("parallel"), [reader()]),
    ):
        with pytest.raises(BadInput, match=r"Write student and teacher so|Write word: 0"):
            list(fit(method, begin(student, SETTINGS), [], SETTINGS, steps=1, teachers=teachers))
    with pytest.raises(BadInput, match="1 to as many"):
        SequenceKD(hypotheses=6)
    with pytest.raises(BadInput, match="Set it to 1"):
        SequenceKD(choose="nearest", hypotheses=2)
