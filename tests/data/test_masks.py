"""Run lengths by hand, as pycocotools has them, and hostile ones."""

import numpy as np
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tutelage.data.masks import Malformed, area, bounds, decode, encode, to_counts

some_masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


@settings(deadline=None)
@given(some_masks)
def test_all_forms_of_a_mask_are_one(mask):
    height, width = mask.shape
    counts = encode(mask)
    np.testing.assert_array_equal(decode(counts, width, height), mask)
    assert area(counts, width, height) == mask.sum()
    flat = mask.T.ravel()  # column by column, beginning with a run of zeros
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    for written in (counts, runs):
        assert to_counts({"size": [height, width], "counts": written}, width, height) == counts


def test_bounds_and_area_by_hand():
    mask = np.zeros((5, 8), bool)
    mask[1:3, 4:8] = True
    assert bounds(encode(mask), 8, 5) == (4, 1, 4, 2)
    assert area(encode(mask), 8, 5) == 8


def test_polygons_are_merged():
    squares = [[0, 0, 2, 0, 2, 2, 0, 2], [1, 0, 4, 0, 4, 2, 1, 2]]
    assert bounds(to_counts(squares, 8, 5), 8, 5) == (0, 0, 4, 2)
    assert area(to_counts(squares, 8, 5), 8, 5) == 8  # not 4 + 6


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools under numpy 2
@settings(deadline=None, max_examples=300)
@given(st.text(max_size=12) | st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12))
def test_any_string_is_a_mask_or_malformed(text):
    try:
        counts = to_counts({"size": [6, 7], "counts": text}, 7, 6)
    except Malformed:
        return
    theirs = pycocotools.mask.decode({"size": [6, 7], "counts": text.encode()})
    np.testing.assert_array_equal(decode(counts, 7, 6), theirs)


@pytest.mark.parametrize("runs", [[42.0], [True, 41], ["42"], [43], [-1, 43], {}, None, 42])
def test_what_is_no_run_lengths_is_malformed(runs):
    with pytest.raises(Malformed):
        to_counts({"size": [6, 7], "counts": runs}, 7, 6)
