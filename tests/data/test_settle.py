import dataclasses
import hashlib
import itertools

import numpy as np
import pytest
from fresh import fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, picture, save

from tutelage.data import ingest as module
from tutelage.data.ingest import Leak, examine_all, manifest, settle
from tutelage.data.near import NearIndex
from tutelage.data.records import Examined, Found, Refusal, Scan
from tutelage.data.sources import scan

FLAT = bytes(304)


def image(name, label="cat", *, pixels=None, sha256=None, dhash=0, thumbnail=FLAT):
    """An examined image; `name` begins with its source. Without `pixels` it is like no other."""
    found = Found(name, name.partition("/")[0], name.partition("/")[2], 0, 9, label)
    pixels = pixels or name
    return Examined(found, sha256 or f"bytes of {pixels}", pixels, dhash, 8, 8, thumbnail)


def kept(settled):
    return [image.found.id for image in settled.kept]


def settled(*images, leaks="drop", near=0):
    return settle(images, leaks=leaks, near_duplicates=near)


def test_of_copies_in_one_source_the_first_stays():
    told = settled(image("pool/b", None, pixels="p"), image("pool/a", None, pixels="p"), image("pool/c", None))
    assert kept(told) == ["pool/a", "pool/c"]
    assert told.dropped == [Refusal("pool/b", "duplicate", "the same as pool/a (bytes)")]
    assert told.refused == []


def test_equal_pixels_in_other_bytes_are_a_copy():
    told = settled(image("pool/a", pixels="p"), image("pool/b", pixels="p", sha256="saved again"))
    assert told.dropped == [Refusal("pool/b", "duplicate", "the same as pool/a (pixels)")]


def test_a_labelled_image_stays_rather_than_the_pools():
    told = settled(image("pool/a", None, pixels="p"), image("labelled/z", pixels="p"))
    assert kept(told) == ["labelled/z"]
    assert [refusal.id for refusal in told.dropped] == ["pool/a"]


def test_leaks_are_dropped_from_training():
    told = settled(image("test/z", pixels="p"), image("labelled/a", pixels="p"), image("pool/a", None, pixels="p"))
    assert kept(told) == ["test/z"]
    assert {(refusal.id, refusal.reason) for refusal in told.dropped} == {("labelled/a", "leak"), ("pool/a", "leak")}
    assert told.leaks == told.refused == []


@pytest.mark.parametrize(("near", "kind"), [(0, "bytes"), (2, "near")])
def test_a_leak_that_the_test_labels_otherwise_is_refused_and_not_dropped_unseen(near, kind):
    copy = image("labelled/a", "dog", dhash=1) if near else image("labelled/a", "dog", pixels="test/z")
    told = settled(image("test/z"), copy, near=near)
    assert kept(told) == ["test/z"]
    [refusal] = told.refused
    assert (refusal.id, refusal.reason) == ("labelled/a", "duplicate")
    assert f"labelled 'dog', but its copy test/z ({kind}) 'cat'; decide for one" in refusal.detail


def test_leaks_are_left_for_the_doctor_to_refuse():
    copies = image("test/z", pixels="p"), image("labelled/a", pixels="p", sha256="x"), image("pool/a", None, pixels="p")
    told = settled(*copies, leaks="refuse")
    assert kept(told) == ["labelled/a", "test/z"]  # the pool's copy is a spare of the labelled one
    assert told.leaks == [Leak("labelled/a", "test/z", "pixels")]
    assert [refusal.reason for refusal in told.dropped] == ["duplicate"]


def test_copies_that_contradict_each_other_are_all_refused():
    copies = [
        image("labelled/a", "cat", pixels="p"),
        image("labelled/b", "dog", pixels="p"),
        image("labelled/c", pixels="p"),
    ]
    told = settled(*copies, image("labelled/d", "dog"))
    assert kept(told) == ["labelled/d"]
    assert {(refusal.id, refusal.reason) for refusal in told.refused} == {(f"labelled/{x}", "duplicate") for x in "abc"}
    assert "labelled 'cat', but its copy labelled/b (bytes) 'dog'" in told.refused[0].detail


@pytest.mark.parametrize("near", [0, 2])
@pytest.mark.parametrize("labels", ["aba", "abb", "aab", "abab", "abca"])
def test_of_copies_with_two_labels_none_stays_whatever_their_order(labels, near):
    def copies(source):
        pairs = enumerate(labels)
        return [image(f"{source}/{n}", label, pixels=None if near else "p", dhash=n % 2) for n, label in pairs]

    told = settled(*copies("labelled"), near=near)
    gone = [refusal.id for refusal in (*told.refused, *told.dropped)]
    assert kept(told) == []
    assert sorted(gone) == [f"labelled/{n}" for n in range(len(labels))]
    pool = image("pool/a", None, pixels=None if near else "p")
    assert kept(settled(*copies("test"), pool, near=near)) == ["pool/a"]  # what nobody tests on leaks nothing


def test_a_row_that_is_listed_twice_stays_once():
    assert kept(settled(image("labelled/a"), image("labelled/a"))) == ["labelled/a"]
    assert len(settled(image("labelled/a", "cat"), image("labelled/a", "dog")).refused) == 2


def test_two_members_of_one_name_do_not_share_an_id():
    told = settled(image("pool/s.tar/a", pixels="p"), image("pool/s.tar/a", pixels="q"))
    assert kept(told) == ["pool/s.tar/a"]
    assert "same name" in told.dropped[0].detail


def test_what_the_pools_folders_are_called_contradicts_nobody():
    assert kept(settled(image("pool/a", "mon", pixels="p"), image("pool/b", "tue", pixels="p"))) == ["pool/a"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["labelled", "pool", "test"]), st.sampled_from("pqrs"), st.sampled_from(["cat", "dog"])
        ),
        max_size=9,
    ),
    st.randoms(use_true_random=False),
    st.sampled_from(["drop", "refuse"]),
    st.sampled_from([0, 3]),
)
def test_the_order_of_images_is_nothing_and_everyone_is_accounted_for(rows, random, leaks, near):
    images = [
        image(f"{source}/{n}", label, pixels=pixels, dhash=int.from_bytes(hashlib.sha256(pixels.encode()).digest()[:8]))
        for n, (source, pixels, label) in enumerate(rows)
    ]
    shuffled = random.sample(images, len(images))
    told = settle(images, leaks=leaks, near_duplicates=near)
    assert told == settle(shuffled, leaks=leaks, near_duplicates=near)
    parts = kept(told), [refusal.id for refusal in told.refused], [refusal.id for refusal in told.dropped]
    assert sorted(itertools.chain(*parts)) == sorted(image.found.id for image in images)
    training = {image.pixels for image in told.kept if image.found.source != "test"}
    judged = {image.pixels for image in told.kept if image.found.source == "test"}
    assert bool(training & judged) == bool(told.leaks)


class TestNear:
    def test_only_within_the_bits(self):
        copies = image("pool/a", dhash=0b0111), image("pool/b", dhash=0)
        assert kept(settled(*copies, near=3)) == ["pool/a"]
        assert kept(settled(*copies, near=2)) == ["pool/a", "pool/b"]
        assert kept(settled(*copies)) == ["pool/a", "pool/b"]

    def test_thumbnails_must_agree_as_well(self):
        lighter, other = bytes([2]) * 304, bytes([3]) * 304
        assert kept(settled(image("pool/a"), image("pool/b", thumbnail=lighter), near=1)) == ["pool/a"]
        assert kept(settled(image("pool/a"), image("pool/b", thumbnail=other), near=1)) == ["pool/a", "pool/b"]
        spot = bytes([25]) + bytes(303)
        assert kept(settled(image("pool/a"), image("pool/b", thumbnail=spot), near=1)) == ["pool/a", "pool/b"]

    def test_a_chain_keeps_its_ends(self):
        chain = image("pool/a", dhash=0b000), image("pool/b", dhash=0b011), image("pool/c", dhash=0b1111)
        assert kept(settled(*chain, near=2)) == ["pool/a", "pool/c"]  # c is near b alone, and b is gone

    def test_leaks_and_contradictions(self):
        copies = image("test/a"), image("labelled/b", dhash=1), image("pool/c", None, dhash=2)
        assert kept(settled(*copies, near=2)) == ["test/a"]
        told = settled(*copies, near=2, leaks="refuse")
        assert told.leaks == [Leak("labelled/b", "test/a", "near")]  # the pool's copy is a spare of the labelled one
        assert kept(told) == ["labelled/b", "test/a"]
        told = settled(image("labelled/a", "cat"), image("labelled/b", "dog", dhash=1), near=2)
        assert [refusal.id for refusal in told.refused] == ["labelled/a", "labelled/b"]
        assert kept(told) == []
        told = settled(image("test/a", pixels="p"), image("labelled/b", pixels="p"), near=2, leaks="refuse")
        assert told.leaks == [Leak("labelled/b", "test/a", "bytes")]  # once

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 16), st.integers(0, 2**32 - 1))
    def test_no_pair_is_missed(self, bits, seed):
        rng = np.random.default_rng(seed)
        n = 40
        hashes = rng.integers(0, 2**64, 4, dtype=np.uint64)[rng.integers(0, 4, n)]
        for _ in range(3):  # a few flipped bits
            hashes ^= np.uint64(1) << rng.integers(0, 64, n).astype(np.uint64)
        thumbnails = (rng.integers(0, 2, (n, 1)) * 90 + rng.integers(0, 6, (n, 304))).astype(np.uint8)
        index = NearIndex(hashes, thumbnails, bits)
        for place in range(n):
            near = [
                other
                for other in range(place)
                if int(hashes[other] ^ hashes[place]).bit_count() <= bits
                and np.abs(thumbnails[other].astype(int) - thumbnails[place]).mean() <= 2
            ]
            assert index.earlier(place, np.ones(n, bool)).tolist() == near

    def test_thousands_of_equal_looking_images_take_no_memory_or_time(self):
        frames = [image(f"pool/{n:05d}", None, dhash=n % 3) for n in range(3000)]  # a still camera
        assert kept(settled(*frames, near=4)) == ["pool/00000"]


def examined_by_processes(found):
    module._MANY = 1
    return list(examine_all(found, max_pixels=2000, thumbnails=False))


class TestExamine:
    def test_a_picture_saved_again_is_found_out(self, tmp_path):
        big = picture(5, 200, 200)
        save(tmp_path / "pool/a.png", big)
        save(tmp_path / "pool/b.bmp", big)
        save(tmp_path / "pool/c.jpg", big, quality=70)
        save(tmp_path / "pool/d.png", picture(6, 200, 200))
        images = list(examine_all(scan(tmp_path, "pool", "pool"), max_pixels=10**5, thumbnails=True))
        assert kept(settle(images, leaks="drop", near_duplicates=0)) == ["pool/a.png", "pool/c.jpg", "pool/d.png"]
        told = settle(images, leaks="drop", near_duplicates=4)
        assert kept(told) == ["pool/a.png", "pool/d.png"]
        assert [refusal.detail for refusal in told.dropped] == [
            "the same as pool/a.png (pixels)", "the same as pool/a.png (near)",
        ]  # fmt: skip

    def test_facts_are_of_the_file(self, tmp_path):
        data = save(tmp_path / "pool/a.png", picture(0, 24, 20)).read_bytes()
        [known] = examine_all(scan(tmp_path, "pool", "pool"), max_pixels=480, thumbnails=False)
        assert (known.sha256, known.width, known.height) == (hashlib.sha256(data).hexdigest(), 20, 24)
        assert known.pixels == hashlib.sha256(b"20 24 " + picture(0, 24, 20).tobytes()).hexdigest()
        assert known.thumbnail == b""

    def test_each_refusal_has_its_reason_and_the_order_is_kept(self, tmp_path):
        for number in range(200):  # several chunks
            save(tmp_path / f"pool/{number:03d}.png", picture(number, 5, 5))
        save(tmp_path / "pool/007.png", encoded(picture(), "PNG")[:-30])
        save(tmp_path / "pool/100.png", picture(0, 50, 50))
        save(tmp_path / "pool/150.png", b"not a picture")
        found = scan(tmp_path, "pool", "pool")
        (tmp_path / "pool/199.png").unlink()
        answers = list(examine_all(found, max_pixels=2000, thumbnails=False))
        assert [getattr(answer, "id", None) or answer.found.id for answer in answers] == [
            item.id for item in found.found
        ]
        refused = {answer.id: answer.reason for answer in answers if isinstance(answer, Refusal)}
        assert refused == {
            "pool/007.png": "truncated", "pool/100.png": "too_large", "pool/150.png": "not_an_image",
            "pool/199.png": "unreadable",
        }  # fmt: skip
        assert fresh(examined_by_processes, found) == answers

    @pytest.mark.parametrize(
        ("lengths", "images", "chunks"),
        [([500] * 200, 63, 4), ([3 << 20] * 16, 1, 13), ([40 << 20] * 3, 1, 3), ([], 0, 0)],
    )
    def test_chunks_are_some_small_images_or_one_or_two_large_ones(self, lengths, images, chunks):
        ends = module._ends([Found("pool/a", "pool", "a.png", 0, length) for length in lengths])
        each = np.diff([0, *ends])
        assert each.sum() == len(lengths)
        assert len(ends) == chunks
        assert set(each[:-1]) <= {images, images + 1}

    def test_a_file_that_became_shorter_is_truncated(self, tmp_path):
        found = scan(save(tmp_path / "pool/a.png").parents[1], "pool", "pool")
        found.found[0] = dataclasses.replace(found.found[0], length=found.found[0].length + 1)
        [answer] = examine_all(found, max_pixels=10**6, thumbnails=False)
        assert answer.reason == "truncated"

    def test_a_file_too_long_for_any_allowed_image_is_not_read(self, tmp_path):
        path = save(tmp_path / "pool/a.png")
        with path.open("r+b") as file:
            file.truncate(10**10)  # sparse
        [answer] = examine_all(scan(tmp_path, "pool", "pool"), max_pixels=10**6, thumbnails=False)
        assert answer.reason == "too_large"

    def test_whoever_stops_listening_stops_the_work(self, tmp_path):
        for number in range(300):
            save(tmp_path / f"pool/{number:03d}.png", picture(number, 5, 5))
        answers = examine_all(scan(tmp_path, "pool", "pool"), max_pixels=2000, thumbnails=False)
        next(answers)
        answers.close()
        with pytest.raises(StopIteration):
            next(answers)


def test_folders_of_the_pool_are_labels_only_where_they_are_classes():
    labelled, pool = Scan("labelled", "train", classes={"cat", "bird"}), Scan("pool", "pool", loose_labels=True)
    csv = Scan("pool", "pool")
    images = [image("labelled/a", "cat"), image("pool/b", "cat"), image("pool/c", "2024-05-01")]
    table = manifest(images, [labelled, pool])
    assert table["label"].to_pylist() == ["cat", "cat", None]
    assert table["label_source"].to_pylist() == ["given", "given", ""]
    assert table["tasks"].to_pylist() == [["classification"], ["classification"], []]
    assert table.schema.metadata[b"classes"] == b'["bird", "cat"]'
    assert manifest(images, [labelled, csv])["label"].to_pylist()[2] == "2024-05-01"  # somebody wrote it: doctor tells
