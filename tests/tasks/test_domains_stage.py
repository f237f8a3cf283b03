from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tasks.adapt_params import Domains
from tasks.domains import before, domains
from tutelage.types import BadInput


def wanted(**changes):
    return SimpleNamespace(
        seed=0, adapt=SimpleNamespace(domains=Domains(**({"source": 4, "target": 3, "test": 2} | changes)))
    )


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    root = tmp_path_factory.mktemp("fetched")
    for name in ("train", "test"):
        for place, label in enumerate(("bag", "coat")):
            (root / name / label).mkdir(parents=True)
            for number in range(5):
                picture = np.zeros((28, 28), np.uint8)
                picture[4:24, 4:24] = 100 + 20 * number + 10 * place + (5 if name == "test" else 0)
                cv2.imwrite(str(root / name / label / f"{number}.png"), picture)
    return root


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_sets_have_their_sizes_and_share_no_garment(fetched, tmp_path):
    found = contents(domains(fetched, params=wanted(source=5, target=5), out=tmp_path / "out"))
    names = [name.split("/")[0] for name in found]
    assert [names.count(name) for name in ("source", "target", "target_test")] == [5, 5, 2]
    assert all(name.count("/") == (1 if name.startswith("target/") else 2) for name in found)
    seen = {cv2.imread(str(tmp_path / "out" / name))[14, 14].tolist()[0] for name in found if name[:7] == "source/"}
    assert len(seen) == 5  # no garment twice
    assert all(value % 10 == 0 for value in seen)  # none of the test's


def test_an_image_depends_on_its_set_and_number_alone(fetched, tmp_path):
    few = contents(domains(fetched, params=wanted(), out=tmp_path / "few"))
    again = contents(domains(fetched, params=wanted(test=1), out=tmp_path / "again"))
    assert few == few | again
    assert len(few) == len(again) + 1


def test_it_is_the_difference_of_a_texture_and_the_garment():
    def of(level):
        return before(np.full((16, 16, 3), level, np.uint8), np.random.default_rng(3)).astype(int)

    behind, dark, bright = of(0), of(20), of(255)
    assert behind.std() > 0
    light = np.random.default_rng(3)
    from tutelage.data.textures import TARGET, texture

    texture(16, TARGET, light)
    share = light.uniform(0.6, 1.0)
    np.testing.assert_allclose(dark, np.abs(behind - share * 20), atol=1)
    np.testing.assert_allclose(bright, np.abs(behind - share * 255), atol=1)


def test_without_fetched_garments_it_says_what_to_do(tmp_path):
    with pytest.raises(BadInput, match="dvc repro fetch"):
        domains(tmp_path, params=wanted(), out=tmp_path / "out")
