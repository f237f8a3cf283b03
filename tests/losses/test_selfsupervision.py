import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.selfsupervision import (
    among_trusted,
    cosines,
    error_rank,
    matching_loss,
    own_image,
    selected,
)


def test_cosines_of_views_with_images_keep_their_digits():
    views, images = torch.randn(6, 4), torch.randn(2, 4)
    wanted = F.cosine_similarity(views[:, None], images[None], dim=-1)
    torch.testing.assert_close(cosines(views, images), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cosines(views, images), wanted)


def test_view_i_comes_from_image_i_modulo_the_images():
    assert own_image(torch.zeros(6, 2)).tolist() == [0, 1, 0, 1, 0, 1]


def test_matching_by_hand():
    similarity = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])  # 3/4 for image 0, which is right once
    loss = matching_loss(similarity, trust=torch.ones(2))
    torch.testing.assert_close(loss, torch.tensor(-(math.log(0.75) + math.log(0.25)) / 2))
    half = matching_loss(similarity, trust=torch.tensor([1.0, 0.5]))  # 3 to 1/2 for image 0, and view 1 counts half
    torch.testing.assert_close(half, torch.tensor(-(math.log(6 / 7) + 0.5 * math.log(1 / 7)) / 1.5))


def test_silent_images_are_neither_rows_nor_answers():
    similarity = torch.randn(9, 3)
    kept = similarity.view(3, 3, 3)[:, :2, :2].reshape(6, 2)
    torch.testing.assert_close(
        matching_loss(similarity, trust=torch.tensor([1.0, 1.0, 0.0])), matching_loss(kept, trust=torch.ones(2))
    )


def test_answers_share_by_trust():
    shares = among_trusted(torch.zeros(1, 3), torch.tensor([1.0, 0.5, 0.0])).softmax(-1)
    torch.testing.assert_close(shares, torch.tensor([[2 / 3, 1 / 3, 0.0]]))


def test_error_rank_counts_what_is_above_the_truth():
    scores = torch.tensor([[5.0, 3.0, 4.0], [1.0, 2.0, 3.0]])
    assert error_rank(scores, torch.tensor([0, 0])).tolist() == [0, 2]
    assert error_rank(scores, torch.tensor([1, 1])).tolist() == [2, 1]


RANK = torch.tensor([3, 0, 1, 0, 2, 7])


@pytest.mark.parametrize(
    ("ratio", "kept"),
    [(0.0, [0, 1, 0, 1, 0, 0]), (0.49, [0, 1, 1, 1, 0, 0]), (0.75, [1, 1, 1, 1, 1, 0]), (1.0, [1] * 6)],
)
def test_selective_transfer_keeps_the_right_and_the_least_wrong(ratio, kept):
    assert selected(RANK, ratio=ratio, trust=torch.ones(6)).tolist() == kept  # 4 are wrong: 0, 1, 3 and 4 of them


def test_silent_views_are_neither_chosen_nor_counted():
    trust = torch.tensor([0.5, 1.0, 0.0, 0.0, 1.0, 0.5])
    assert selected(RANK, ratio=0.7, trust=trust).tolist() == [1, 1, 0, 0, 1, 0]  # of 3 wrong ones, 2


def test_the_share_of_the_wrong_is_of_those_that_are_heard():
    rank, trust = torch.tensor([0, 1, 2, 1, 1]), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    assert selected(rank, ratio=0.5, trust=trust).tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]
