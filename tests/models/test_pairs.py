import pytest
import torch

from tutelage.models.pairs import Adapter, Adapters, Projection, pooled_to_smaller, same_size, stage_pairs
from tutelage.types import BadInput, Network


class Widths(Network):
    def __init__(self, count):
        super().__init__()
        self.widths, self.embedding_width = {f"stage{i}": 8 * i for i in range(1, count + 1)}, 8 * count

    def forward(self, images):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("ours", "theirs", "pairs"),
    [
        (2, 2, [("stage1", "stage1"), ("stage2", "stage2")]),
        (2, 4, [("stage1", "stage2"), ("stage2", "stage4")]),
        (3, 2, [("stage1", "stage1"), ("stage3", "stage2")]),
        (1, 3, [("stage1", "stage3")]),
    ],
)
def test_the_last_stages_belong_together(ours, theirs, pairs):
    assert stage_pairs(Widths(ours), Widths(theirs)) == pairs


def test_the_user_may_name_them():
    assert stage_pairs(Widths(3), Widths(4), ("stage1:stage4",)) == [("stage1", "stage4")]
    with pytest.raises(
        BadInput, match=r"'stage5' is no stage of the teacher, which has stage1, stage2.*leave layers out"
    ):
        stage_pairs(Widths(3), Widths(2), ("stage1:stage5",))


def test_maps_meet_at_the_smaller_size():
    wide, narrow = same_size(torch.arange(16.0).view(1, 1, 4, 4), torch.zeros(1, 3, 2, 4))
    assert wide.shape == (1, 1, 2, 4)
    assert narrow.shape == (1, 3, 2, 4)
    torch.testing.assert_close(wide[0, 0, 0], torch.tensor([2.0, 3.0, 4.0, 5.0]))  # means of two rows


def test_adapters_bring_any_width_to_any_other():
    assert Adapter(5, 7)(torch.zeros(2, 5, 3, 3)).shape == (2, 7, 3, 3)


@pytest.mark.parametrize(
    ("adapt", "adapters"), [("all", [True, True]), ("unequal", [False, True]), ("none", [False] * 2)]
)
def test_pairs_are_compared_at_the_teachers_width_and_the_smaller_size(adapt, adapters):
    pairs = [("stage1", "stage1"), ("stage2", "stage1")]
    both = Adapters(Widths(2), Widths(1), pairs, adapt=adapt)
    assert [isinstance(net, Adapter) for net in both.nets] == adapters
    ours = {"stage1": torch.rand(2, 8, 4, 4), "stage2": torch.rand(2, 16, 2, 2)}
    seen = both(ours, {"stage1": torch.rand(2, 8, 4, 4)})
    assert [one.shape[1:] for one, _ in seen] == [(8, 4, 4), (16 if adapt == "none" else 8, 2, 2)]
    assert [other.shape[1:] for _, other in seen] == [(8, 4, 4), (8, 2, 2)]
    assert (seen[0][0] is ours["stage1"]) != adapters[0]


def test_a_projection_is_there_where_widths_differ_only():
    x = torch.rand(2, 8)
    assert Projection(Widths(1), Widths(1))(x) is x
    assert Projection(Widths(1), Widths(3))(x).shape == (2, 24)
    assert [p.shape for p in Projection(Widths(1), Widths(3)).parameters()] == [(24, 8)]


def test_the_larger_map_shrinks_to_its_largest_values_or_their_mean():
    small = torch.zeros(1, 3, 2, 2)
    large = torch.arange(16.0).view(1, 1, 4, 4)
    for one, other in ((large, small), (small, large)):
        for largest, wanted in ((True, [5.0, 7.0, 13.0, 15.0]), (False, [2.5, 4.5, 10.5, 12.5])):
            met = pooled_to_smaller(one, other, largest=largest)
            assert [x.shape[1] for x in met] == [one.shape[1], other.shape[1]]
            assert next(x for x in met if x.shape[1] == 1).flatten().tolist() == wanted
