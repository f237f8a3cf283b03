import hashlib
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tutelage.data.groups import examined, group_of, one_of_each, units_of
from tutelage.data.manifest import MANIFEST, SPLIT, classes_of, describe, roots_of
from tutelage.data.split import draw


def sha(name):
    return hashlib.sha256(name.encode()).hexdigest()


def make(labels, classes=("cat", "dog")):
    """A manifest of id -> label; an id begins with its source."""
    rows = [
        {
            "id": name, "source": name.partition("/")[0], "path": name, "offset": 0, "length": 1, "sha256": sha(name),
            "pixels": sha(name), "dhash": 0, "width": 1, "height": 1, "label": label, "domain": "",
            "label_source": "", "tasks": [],
        }
        for name, label in labels.items()
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    return describe(
        table, roots={name: name for name in sorted({row["source"] for row in rows})}, classes=list(classes)
    )


def drawn(labels, *, seed=0, budget=None, holdout=0.25, test=0.2, classes=("cat", "dog")):
    """id -> role."""
    table, _ = draw(make(labels, classes), seed=seed, labels_per_class=budget, holdout=holdout, test_fraction=test)
    return dict(zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True))


def many(number, *, label="cat", source="labelled", start=0):
    return {f"{source}/{label}/{n:03d}": label for n in range(start, start + number)}


def test_a_budget_is_exact_in_each_class():
    labels = many(100) | many(70, label="dog") | many(9, source="test")
    roles = drawn(labels, budget=40)
    for name, number in (("cat", 100), ("dog", 70)):
        counts = Counter(role for image, role in roles.items() if image.startswith(f"labelled/{name}"))
        assert counts == {"labelled": 30, "holdout": 10, "pool": number - 40}
    assert Counter(roles.values())["test"] == 9


@pytest.mark.parametrize(
    ("number", "holdout", "kept_out"),
    [(40, 0.25, 10), (1, 0.9, 0), (2, 0.9, 1), (2, 0.25, 0), (3, 0.25, 1), (10, 0.0, 0), (10, 0.34, 3), (6, 0.25, 1)],
)
def test_the_holdout_is_rounded_and_leaves_one(number, holdout, kept_out):
    roles = drawn(many(number) | many(1, source="test"), holdout=holdout)
    assert Counter(roles.values())["holdout"] == kept_out
    assert Counter(roles.values())["labelled"] == number - kept_out


def test_labels_of_the_pool_are_hidden_and_told_apart():
    labels = many(6) | {"pool/a": None, "pool/b": "dog", "pool/c": "2024"} | many(1, source="test", label="dog")
    table, truth = draw(make(labels), seed=0, labels_per_class=2, holdout=0.5, test_fraction=0.2)
    assert table.schema.equals(SPLIT)
    assert classes_of(table) == ["cat", "dog"]
    assert roots_of(table) == {"labelled": "labelled", "pool": "pool", "test": "test"}
    rows = {row["id"]: row for row in table.to_pylist()}
    pool = {name for name, row in rows.items() if row["role"] == "pool"}
    assert len(pool) == 4 + 3
    assert all(rows[name]["label"] is None for name in pool)
    assert {row["label"] for row in rows.values() if row["source"] == "labelled" and row["role"] != "pool"} == {0}
    hidden = dict(zip(truth["id"].to_pylist(), truth["label"].to_pylist(), strict=True))
    assert hidden == {name: 0 for name in pool if name.startswith("labelled")} | {"pool/b": 1}
    assert rows["test/dog/000"]["label"] == 1


def test_without_a_budget_nothing_is_left_for_the_pool():
    assert set(drawn(many(20)).values()) == {"labelled", "holdout", "test"}


def test_a_seed_draws_others():
    labels = many(50) | many(1, source="test")
    chosen = [{n for n, role in drawn(labels, seed=s, budget=10).items() if role == "labelled"} for s in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_test_and_holdout_are_not_drawn_by_the_same_luck():
    roles = drawn(many(400), budget=100, test=0.5, holdout=0.5)
    ranked = sorted(roles, key=lambda name: hashlib.sha256(f"0 test {sha(name)}".encode()).hexdigest())
    held = [place for place, name in enumerate(ranked) if roles[name] == "holdout"]
    assert 250 < sum(held) / len(held) < 350  # spread over the upper half, not packed at its begin


@pytest.mark.parametrize("number", [1, 2, 3, 10, 200])
def test_a_test_share_leaves_both_sides_something(number):
    counts = Counter(drawn(many(number)).values())
    assert counts["labelled"] >= 1
    assert (counts["test"] >= 1) == (number > 1)
    if number == 200:
        assert 25 <= counts["test"] <= 55


ids = st.lists(st.integers(0, 500), min_size=1, max_size=40, unique=True)


@settings(max_examples=80, deadline=None)
@given(ids, st.randoms(use_true_random=False), st.integers(1, 12), st.booleans())
def test_the_order_of_images_moves_nobody(numbers, random, budget, with_test):
    labels = {f"labelled/{n}": ("cat", "dog")[n % 2] for n in numbers} | ({"test/1": "cat"} if with_test else {})
    shuffled = dict(random.sample(sorted(labels.items()), len(labels)))
    assert drawn(labels, budget=budget) == drawn(shuffled, budget=budget)


@settings(max_examples=150, deadline=None)
@given(ids, st.integers(501, 999), st.integers(1, 12), st.sampled_from([0.0, 0.25, 0.5]))
def test_a_new_image_takes_at_most_one_place(numbers, new, budget, holdout):
    """Its class loses one image to the pool and moves one between training and hold-out; other classes see nothing."""
    labels = {f"labelled/{n}": ("cat", "dog")[n % 2] for n in numbers} | {"test/1": "cat"}
    before = drawn(labels, budget=budget, holdout=holdout)
    after = drawn(labels | {f"labelled/{new}": ("cat", "dog")[new % 2]}, budget=budget, holdout=holdout)
    moved = [name for name in before if before[name] != after[name]]
    assert len(moved) <= 2
    assert all(labels[name] == ("cat", "dog")[new % 2] for name in moved)
    assert sum(after[name] == "pool" for name in moved) <= 1
    assert not any(before[name] == "pool" for name in moved)  # nobody comes back


@settings(max_examples=80, deadline=None)
@given(ids, ids)
def test_a_test_image_never_becomes_a_training_image(numbers, more):
    first = {f"labelled/{n}": "cat" for n in numbers}
    below = [int(hashlib.sha256(f"0 test {sha(name)}".encode()).hexdigest()[:13], 16) / 16**13 < 0.3 for name in first]
    assume(0 < sum(below) < len(below))  # or one of a class must be drawn against its hash
    before = drawn(first, test=0.3, budget=5)
    after = drawn(first | {f"labelled/{n}": "cat" for n in more}, test=0.3, budget=5)
    assert all((before[name] == "test") == (after[name] == "test") for name in before)


def videos(number, frames, *, label="cat", source="labelled", start=0):
    """Frames of videos, `frames` each."""
    return {f"{source}/{label}/v{n:03d}_{k}.png": label for n in range(start, start + number) for k in range(frames)}


def sides(roles, pattern="v[0-9]+"):
    """Group -> roles of its images."""
    found = {}
    for name, role in roles.items():
        found.setdefault(group_of(name, pattern), set()).add(role)
    return found


def grouped(labels, *, pattern="v[0-9]+", seed=0, budget=None, holdout=0.25, test=0.2):
    table, _ = draw(
        make(labels), seed=seed, labels_per_class=budget, holdout=holdout, test_fraction=test, groups=pattern
    )
    return dict(zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_a_video_is_on_one_side_though_it_shows_both_classes(seed):
    labels = videos(30, 4) | videos(30, 3, label="dog")
    assert all(len(roles) == 1 for roles in sides(grouped(labels, seed=seed)).values())
    assert any(len(roles) > 1 for roles in sides(drawn(labels, seed=seed)).values())
    counts = Counter(grouped(labels, seed=seed).values())
    assert 0.05 * 210 <= counts["test"] <= 0.4 * 210
    assert 0.15 * 210 <= counts["holdout"] <= 0.35 * (210 - counts["test"])


def test_videos_that_arrive_later_move_none_of_the_test():
    before = grouped(videos(30, 4))
    after = grouped(videos(60, 4) | videos(10, 2, start=5))
    assert all((before[name] == "test") == (after[name] == "test") for name in before)


def test_a_class_of_one_video_is_trained_on_and_a_single_image_is_its_own_group():
    roles = grouped(videos(1, 6) | videos(9, 2, label="dog", start=1) | many(1, label="dog"))
    assert {role for name, role in roles.items() if "/cat/" in name} == {"labelled"}
    assert {role for name, role in roles.items() if "/dog/" in name} == {"labelled", "holdout", "test"}


def test_with_a_test_of_ones_own_only_the_holdout_is_drawn_by_videos():
    roles = grouped(videos(12, 5) | videos(2, 2, source="test", start=90), budget=40)
    found = sides({name: role for name, role in roles.items() if role != "pool"})
    assert all(len(each) == 1 for each in found.values())
    assert Counter(roles.values())["pool"] == 20  # above the budget, whatever their video
    assert 10 <= Counter(roles.values())["holdout"] <= 14


def test_what_is_torn_and_what_is_near_is_told():
    labels = videos(4, 2) | videos(2, 2, source="test", start=3) | many(1) | {"pool/v003_9.png": None}
    table, _ = draw(make(labels), seed=0, labels_per_class=None, holdout=0.25, test_fraction=0.2, groups="v[0-9]+")
    [problem], notes = examined(table, "v[0-9]+")
    assert problem.startswith("1 group(s) have images to train on and to test on, such as labelled/cat/v003_0.png and")
    assert "1 image(s) are of no group and were drawn one by one, such as labelled/cat/000" in notes
    assert any(note.startswith("1 image(s) of the pool are of groups that are tested on") for note in notes)
    nowhere = "split.groups (x(y)) finds nothing in the path of any labelled image, such as labelled/cat/000"
    assert examined(table, "x(y)")[0][0].startswith(nowhere)
    assert examined(table, None) == ([], [])


def test_a_test_of_one_group_proves_nothing_and_one_of_few_is_told():
    def tested(number):
        labels = videos(30, 2) | videos(number, 4, source="test", start=40)
        drawn = draw(make(labels), seed=0, labels_per_class=None, holdout=0.25, test_fraction=0.2, groups="v[0-9]+")
        return examined(drawn[0], "v[0-9]+", "detection.split.groups")

    [problem], _ = tested(1)
    assert problem.startswith(
        "all 4 test images are of one group, such as test/cat/v040_0.png, by detection.split.groups"
    )
    problems, notes = tested(2)
    assert not problems
    assert any(note.startswith("The 8 test images are 2 by groups") for note in notes)
    assert not any("by groups:" in note for note in tested(10)[1])


def test_what_is_drawn_together_is_numbered():
    names = ["test/a/v2_1.png", "test/b/v2_2.png", "test/x.png", "test/y.png", "test/a/v1_1.png"]
    units = units_of(names, "v[0-9]+")
    assert units[0] == units[1]
    assert sorted(set(units)) == [0, 1, 2, 3]
    assert units_of(names, None) is None


def test_the_group_is_what_stands_in_brackets():
    assert group_of("labelled/cat/p12_3.png", "p([0-9]+)_") == "12"
    assert group_of("labelled/cat/p12_3.png", "^[^/]+/p[0-9]+") == "cat/p12"
    assert group_of("labelled/cat/x.png", "p([0-9]+)_") is None
    assert group_of("labelled/p1/x.png", "labelled") is None  # the source is not a part of the path


def test_one_of_each_unit_is_drawn():
    names = [f"labelled/v{video}/{frame}.png" for video in range(5) for frame in range(4)] + ["labelled/alone.png"]
    drawn = [one_of_each(names, "v([0-9])", seed=seed).tolist() for seed in range(20)]
    assert all([place // 4 for place in places] == [0, 1, 2, 3, 4, 5] for places in drawn)
    assert {place for places in drawn for place in places} == set(range(21))
    assert one_of_each(names, None, seed=0).tolist() == list(range(21))
    assert one_of_each([], "v([0-9])", seed=0).tolist() == []
