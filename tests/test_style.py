"""What CONTRIBUTING asks of methods, files and pages, as far as a machine can see it."""

import ast
import dataclasses
import re

import pytest

from tutelage.methods import METHODS, Method
from tutelage.methods.detection import DETECTION_METHODS, DetectionMethod
from tutelage.methods.multitask import MULTITASK_METHODS, MultiMethod

NOT_ON_ARXIV = {
    "am_da_kd",
    "fsp",
    "kdcl",
    "lowres_dfd",
    "mobileid",
    "multi_teacher_triplet",
    "multitask/cakd_regression",
    "oskd",
    "teacher_weighted_face",
}  # cited by their DOI
EXEMPT = {"__init__", "method", "detection/__init__", "detection/method"}  # the tables, and what every method is
EXEMPT |= {"detection/opinions", "detection/counts"}  # what several ask of a teacher, and how much of it is kept
EXEMPT |= {
    "multitask/__init__",
    "multitask/method",
    "multitask/balance",
    "multitask/pixels",
    "multitask/regression",
}  # the same of several tasks, their weights, what is believed of pixels, and what is compared of depth
ALL = METHODS | {f"detection/{name}": cls for name, cls in DETECTION_METHODS.items()}  # by file
ALL |= {f"multitask/{name}": cls for name, cls in MULTITASK_METHODS.items()}
BASES = {"": Method, "detection": DetectionMethod, "multitask": MultiMethod}


def source(pytestconfig, name):
    return pytestconfig.rootpath / f"src/tutelage/methods/{name}.py"


def test_the_table_and_the_folder_agree(pytestconfig):
    folder = source(pytestconfig, "x").parent
    files = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.py")}
    assert files - EXEMPT == set(ALL)
    assert list(METHODS) == sorted(METHODS)
    assert list(DETECTION_METHODS) == sorted(DETECTION_METHODS)


@pytest.mark.parametrize("name", ALL)
def test_a_method_fits_one_screen_and_names_its_source(pytestconfig, name):
    text = source(pytestconfig, name).read_text()
    assert len(text.splitlines()) <= 80, "move mathematics to tutelage/losses"
    paper = ast.get_docstring(ast.parse(text))
    assert f"https://{'doi.org' if name in NOT_ON_ARXIV else 'arxiv.org/abs'}/" in paper, "cite the paper"
    assert "item()" not in text, "reading a number waits for the device"


@pytest.mark.parametrize(("name", "cls"), ALL.items(), ids=list(ALL))
def test_a_method_is_final_frozen_and_named_as_its_file(name, cls):
    folder, _, own = name.rpartition("/")
    assert cls.__bases__ == (BASES[folder],)
    assert cls.__name__.lower() == own.replace("_", "")
    assert cls.__module__ == f"tutelage.methods.{name.replace('/', '.')}"
    assert cls.__doc__
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().anything = 1


@pytest.mark.parametrize("name", ALL)
def test_every_field_says_what_it_means(pytestconfig, name):
    lines = source(pytestconfig, name).read_text().splitlines()
    for field in dataclasses.fields(ALL[name]):
        written = [line for line in lines if line.startswith(f"    {field.name}: ")]
        assert len(written) == 1
        assert "  # " in written[0], f"{field.name} has no comment"


def test_no_two_methods_share_a_run_of_lines(pytestconfig):
    """Eight lines that two methods have in common are a function that is missing."""
    seen = {}
    for name in ALL:
        lines = [line.strip() for line in source(pytestconfig, name).read_text().splitlines() if line.strip()]
        for start in range(len(lines) - 7):
            seen.setdefault("\n".join(lines[start : start + 8]), set()).add(name)
    assert {run: names for run, names in seen.items() if len(names) > 1} == {}


def test_every_loss_has_a_test(pytestconfig):
    losses = {path.stem for path in (pytestconfig.rootpath / "src/tutelage/losses").glob("[!_]*.py")}
    tests = {path.stem.removeprefix("test_") for path in (pytestconfig.rootpath / "tests/losses").glob("test_*.py")}
    assert losses == tests


def test_every_method_has_a_test(pytestconfig):
    tests = {path.stem.removeprefix("test_") for path in (pytestconfig.rootpath / "tests/methods").glob("test_*.py")}
    assert set(METHODS) <= tests
    for kind, table in (("detection", DETECTION_METHODS), ("multitask", MULTITASK_METHODS)):
        folder = pytestconfig.rootpath / "tests/methods" / kind
        assert set(table) == {path.stem.removeprefix(f"test_{kind}_") for path in folder.glob("test_*.py")}


def test_no_file_is_longer_than_300_lines(pytestconfig):
    folders = ("src", "tasks", "flows", "benchmarks")
    files = [path for folder in folders for path in (pytestconfig.rootpath / folder).rglob("*.py")]
    lines = {path.relative_to(pytestconfig.rootpath): len(path.read_text().splitlines()) for path in files}
    assert lines
    assert {path: count for path, count in lines.items() if count > 300} == {}


def test_what_pages_link_to_is_there(pytestconfig):
    root = pytestconfig.rootpath
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    inside = [(page, link.partition("#")[0]) for page, link in links if "://" not in link]
    assert len(inside) > 20
    assert [f"{page.name}: {link}" for page, link in inside if not (page.parent / link).exists()] == []
