import sys

import pytest

from tutelage.models.detectors import INSTALL_DETECTRON2, DetectorSpec
from tutelage.models.detectron2 import create
from tutelage.types import BadInput


def test_where_detectron2_is_missing_the_error_is_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(BadInput, match=r"pip install --no-build-isolation .*facebookresearch/detectron2"):
        create(DetectorSpec(kind="detectron2", config="COCO-Detection/retinanet_R_50_FPN_3x.yaml"), 3)


def test_the_line_that_installs_it_is_documented(pytestconfig):
    assert INSTALL_DETECTRON2 in (pytestconfig.rootpath / "docs/detection.md").read_text()
