import numpy as np

from tutelage.metrics.keypoints import pck


def test_shares_by_hand():
    """Two objects, 10 and 20 pixels long: places within 1 and 2 pixels are found."""
    truth = np.zeros((2, 3, 2))
    said = np.array([[[0.6, 0.8], [1.01, 0.0], [9.0, 9.0]], [[0.0, 2.0], [0.0, 0.0], [1.5, 1.5]]])
    visible = np.array([[True, True, False], [True, False, False]])
    found = pck(truth, said, visible=visible, sides=np.array([10.0, 20.0]), alpha=0.1)
    np.testing.assert_equal(found, [1.0, 0.0, np.nan])
    hidden = pck(truth, said, visible=~visible, sides=np.array([10.0, 20.0]), alpha=0.1)
    np.testing.assert_equal(hidden, [np.nan, 1.0, 0.0])


def test_a_tenth_of_the_side_is_near_unless_told_wherever_the_point_is():
    truth, said = np.array([[[5.0, 5.0], [2.0, 7.0]]]), np.array([[[5.9, 5.0], [2.0, 8.1]]])
    found = pck(truth, said, visible=np.ones((1, 2), bool), sides=np.array([10.0]))
    np.testing.assert_equal(found, [1.0, 0.0])
