import torch

from tutelage.data.patches import GREY, half_of_the_classes, hide, masked, mean_colours, pasted


def test_whole_squares_are_hidden_at_the_wanted_rate():
    torch.manual_seed(0)
    images = torch.zeros(400, 3, 10, 10)
    hidden = masked(images, block=4, ratio=0.7) == GREY
    assert (hidden[:, :1] == hidden).all()  # all channels alike
    squares = hidden[:, 0, :8, :8].reshape(400, 2, 4, 2, 4).transpose(2, 3).flatten(3)
    assert (squares.all(-1) | ~squares.any(-1)).all()
    assert abs(squares.float().mean() - 0.7) < 0.03
    assert len(hidden[:, 0].flatten(1).unique(dim=0)) > 100  # each image its own
    assert not (masked(images, block=4, ratio=0.0) == GREY).any()


def test_half_of_the_classes_by_hand():
    labels = torch.tensor([[[0, 0, 1], [2, 255, 2]], [[3, 3, 3], [3, 255, 255]]])
    for seed in range(10):
        over = half_of_the_classes(labels, generator=torch.Generator().manual_seed(seed))
        assert not over[labels == 255].any()
        assert len(labels[0][over[0]].unique()) == 2  # of three, and each as a whole
        for name in (0, 1, 2):
            assert over[0][labels[0] == name].float().mean() in (0, 1)
        assert (over[1] == (labels[1] == 3)).all()
    assert not half_of_the_classes(torch.full((1, 2, 2), 255)).any()


def test_images_and_labels_are_pasted_alike():
    over = torch.tensor([[[True, False], [False, False]]])
    source, target = torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    mixed = pasted(over, source, target)
    assert mixed.sum() == 3
    assert (mixed[0, :, 0, 0] == 1).all()
    assert pasted(over, source[:, :1], target[:, :1]).sum() == 1


def test_cells_are_hidden_by_name():
    cells = torch.tensor([[[True, False], [False, False]], [[False, False], [False, True]]])
    hidden = hide(torch.zeros(2, 3, 4, 4), cells, block=2) == GREY
    assert hidden.flatten(1).sum(1).tolist() == [12, 12]
    assert hidden[0, :, :2, :2].all()
    assert hidden[1, :, 2:, 2:].all()


def test_colours_are_words_by_hand():
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, :2, :2] = 1.0  # red
    image[0, 1, :2, 2:] = 0.5  # green, half
    image[0, 2, 2:, 2] = 0.5  # blue, half of half
    assert mean_colours(image, (2, 2)).tolist() == [[7 * 64, 4 * 8, 0, 2]]
    assert mean_colours(image, (2, 2), levels=2).tolist() == [[4, 2, 0, 0]]
    assert mean_colours(image[:0], (2, 2)).shape == (0, 4)
