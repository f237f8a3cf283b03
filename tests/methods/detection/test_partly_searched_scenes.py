import pytest
import torch
from scene_fixtures import Scripted, found, scene_batch, scripted_nets

from tutelage.methods.detection import DETECTION_METHODS


@pytest.mark.parametrize("name", DETECTION_METHODS)
def test_a_student_is_told_what_was_looked_for_in_labelled_images_and_that_a_teacher_looks_for_all(name):
    method, batch = DETECTION_METHODS[name](), scene_batch()
    batch.labeled.known[1, 2] = False
    student, teacher = Scripted(), Scripted(found(0.9), rois=[torch.zeros(2, 4)])
    method.loss(scripted_nets(method, student, teacher), batch)
    images = student.asked[-1][0]
    doubted = [row for row in range(len(images)) if not student.known[row].all()]
    assert doubted == [1, 4]  # of both views of three images the second one
    assert student.known[1].tolist() == student.known[4].tolist() == [True, True, False]
    assert student.known.shape == (len(images), 3)
