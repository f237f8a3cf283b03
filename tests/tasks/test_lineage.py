"""A model's descent is told stage by stage, and whatever does not fit is found."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from project import ROOT, environment
from recorded import entry, lock, model, put, sha256

from flows.tidy import idle, tidy
from tasks import lineage_checks, promote
from tasks.__main__ import main as task
from tasks.graph import Stage, needed, overlap, stages
from tasks.lineage import lineage, main
from tasks.lineage_text import told
from tutelage.types import BadInput

DVC = """
stages:
  split:
    cmd: python -m tasks split images work/split
    deps: [images, tasks/split.py]
    params: [seed]
    outs: [work/split]
  teacher:
    cmd: python -m tasks teacher work/split work/teacher
    deps: [work/split, tasks/split.py]
    params: [seed, teacher]
    outs: [work/teacher]
  baseline: {cmd: python -m tasks baseline work/split work/baseline, deps: [work/split], outs: [work/baseline]}
  label:
    foreach: ${rounds}
    do:
      cmd: python -m tasks pseudo_label work/split ${item.teacher} work/${key}/labels
      deps: [work/split, "${item.teacher}"]
      outs: ["work/${key}/labels"]
  student:
    foreach: ${rounds}
    do:
      cmd: python -m tasks student work/split ${item.teacher} work/${key}/labels work/${key}/student
      deps: [work/split, "${item.teacher}", "work/${key}/labels"]
      params: [seed, student]
      outs: ["work/${key}/student"]
  judge:
    cmd: python -m tasks judge work/1/student work/baseline work/judge
    deps: [work/1/student, work/baseline]
    outs: [work/judge]
"""
PARAMS = {"seed": 7, "teacher": {"steps": 5}, "student": {"steps": 9}, "rounds": {"1": {"teacher": "work/teacher"}}}
TEACHER, STUDENT, BASELINE = sha256(model("teacher")), sha256(model("student")), sha256(model("baseline"))
LABELS = {"images": 30, "kept": 12, "teacher": TEACHER, "shards": []}
VERDICT = {
    "promote": True, "winner": "candidate", "reasons": ["Promoted: better."],
    "digests": {"candidate": STUDENT, "baseline": BASELINE},
}  # fmt: skip


def git(*arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *who, *arguments], check=True, text=True, capture_output=True)
    return done.stdout.strip()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(DVC)
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    put("images", a__png=b"a", b__png=b"b")
    put("tasks", split__py=b"pass")
    Path("work/split").mkdir(parents=True)
    pq.write_table(pa.table({"role": ["labelled", "pool", "pool"]}), "work/split/split.parquet")
    put("work/teacher", model__safetensors=model("teacher"), learned_from__json=["labelled"])
    put("work/baseline", model__safetensors=model("baseline"))
    put("work/1/labels", manifest__json=LABELS)
    put("work/1/student", model__safetensors=model("student"))
    put("work/judge", model__safetensors=model("student"), verdict__json=VERDICT)
    lock()


@pytest.fixture
def promoted(run: None) -> None:
    """... whose model is in production, and in Git, as `retrain` and a person leave it."""
    Path(".gitignore").write_text("/work/\n.dvc/\n*.safetensors\n")
    Path("dvc.lock").rename("dvc.lock.later")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "before")
    Path("dvc.lock.later").rename("dvc.lock")
    record = {
        "model": STUDENT, "git": git("rev-parse", "HEAD"), "previous": BASELINE,
        "verdict": sha256(Path("work/judge/verdict.json").read_bytes()),
    }  # fmt: skip
    put("registry/production", model__safetensors=model("student"), production__json=record)
    git("add", ".")
    git("commit", "--quiet", "--message", "a night")


def again(name: str = "other") -> None:
    """Another run: what it judges is a model of another name."""
    put("work/1/student", model__safetensors=model(name))
    digests = {"digests": {"candidate": sha256(model(name))}}
    put("work/judge", model__safetensors=model(name), verdict__json=VERDICT | digests)
    lock("student@1", "judge")


def change(**record: object) -> None:
    path = Path("registry/production/production.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | record))


def test_the_stages_of_a_model_from_the_data_on(run: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work/judge", "found.json"]) == 0
    found = json.loads(Path("found.json").read_text())
    assert (found["model"], found["sha256"], found["whole"]) == ("work/judge/model.safetensors", STUDENT, True)
    assert [step["name"] for step in found["steps"]] == [
        "split",
        "teacher",
        "label@1",
        "student@1",
        "baseline",
        "judge",
    ]
    assert [step["name"] for step in found["steps"] if step["beside"]] == ["baseline"]
    steps = {step["name"]: step for step in found["steps"]}
    assert steps["split"]["params"] == {"seed": 7}
    assert steps["split"]["reads"][1]["md5"] == "1a1dc91c907325c69271ddf0c944bc72"  # md5 of "pass"
    assert steps["split"]["facts"] == ["1 labelled and 2 pool images"]
    assert steps["label@1"]["facts"] == [f"12 kept of 30 images by teacher {TEACHER[:12]}"]
    assert steps["teacher"]["models"] == {"work/teacher/model.safetensors": TEACHER}
    said = capsys.readouterr().out
    assert said.startswith(f"work/judge/model.safetensors {STUDENT[:12]}: student, 2 classes, method FixMatch\n")
    assert "The candidate wins. Promoted: better." in said
    assert "  params        student {steps: 9}; as above seed\n" in said
    assert said.endswith("Whole: every record fits the next.\n")


def test_a_page_of_which_no_line_is_too_long_and_no_hash_is_torn_off(run: None) -> None:
    lines = told(lineage("work/judge"))
    assert max(map(len, lines)) <= 120
    split = yaml.safe_load(Path("dvc.lock").read_text())["stages"]["split"]["outs"][0]["md5"][:8]
    assert sum(f"work/split {split}" in line for line in lines) == 4  # written once, read by the three on the way


def broken(path: str = "work/judge") -> str:
    return "\n".join(lineage(path).broken)


def test_a_file_that_is_not_what_its_stage_wrote(run: None) -> None:
    Path("work/teacher/model.safetensors").write_bytes(model("teachers"))
    assert broken() == (
        "work/teacher/model.safetensors: not as teacher wrote it. `dvc checkout --force work/teacher` restores it"
    )
    Path("work/teacher/model.safetensors").write_bytes(model("teacher"))
    Path("work/teacher/learned_from.json").unlink()
    put("work/1/labels", shard__parquet=b"")
    assert [line.partition(":")[0] for line in broken().splitlines()] == [
        "work/teacher/learned_from.json", "work/1/labels/shard.parquet",
    ]  # fmt: skip


def test_what_dvc_leaves_out_is_not_missed(run: None) -> None:
    put("work/1/labels/__pycache__", a__pyc=b"")
    assert broken()
    Path(".dvcignore").write_text("__pycache__/\n")
    assert not broken()


def test_a_folder_that_is_gone_may_be_in_the_cache(run: None) -> None:
    Path("work/1/labels/manifest.json").unlink()
    Path("work/1/labels").rmdir()
    assert not broken()
    assert lineage("work/judge").steps[2].facts
    md5 = yaml.safe_load(Path("dvc.lock").read_text())["stages"]["label@1"]["outs"][0]["md5"]
    Path(".dvc/cache/files/md5", md5[:2], md5[2:]).unlink()
    assert broken() == "work/1/labels is neither here nor in DVC's cache: `dvc pull label@1`"


def test_labels_of_another_teacher(run: None) -> None:
    put("work/1/labels", manifest__json=LABELS | {"teacher": BASELINE})
    lock()
    assert broken().splitlines()[0] == (
        f"work/1/labels/manifest.json is of the teacher {BASELINE[:12]}, and label@1 read "
        f"work/teacher/model.safetensors ({TEACHER[:12]}): `dvc repro --force label@1` makes it again"
    )
    assert "and student@1 read" in broken().splitlines()[1]


def test_a_student_of_another_teacher_than_its_labels(run: None) -> None:
    of_labels = 'deps: [work/split, "${item.teacher}", "work/${key}/labels"]'
    Path("dvc.yaml").write_text(DVC.replace(of_labels, "deps: [work/baseline, work/1/labels]"))
    lock()
    assert "and student@1 read work/baseline/model.safetensors" in broken()
    assert len(broken().splitlines()) == 1


def test_a_model_that_the_verdict_does_not_name(run: None) -> None:
    put("work/judge", model__safetensors=model("baseline"))
    lock("judge")
    assert f"({BASELINE[:12]}) is not the model that work/judge/verdict.json lets win ({STUDENT[:12]})" in broken()


def test_a_stage_that_has_never_run(run: None, capsys: pytest.CaptureFixture[str]) -> None:
    written = yaml.safe_load(Path("dvc.lock").read_text())
    del written["stages"]["label@1"]
    Path("dvc.lock").write_text(yaml.safe_dump(written, sort_keys=False))
    assert main([]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "student@1 read work/1/labels, and label@1, which writes it, is not in dvc.lock: `dvc repro label@1`" in said
    assert said.endswith("Broken in 1 place.")
    with pytest.raises(BadInput, match="label@1, which writes work/1/labels, has not run: `dvc repro label@1`"):
        lineage("work/1/labels")


def test_a_stage_that_ran_again_after_another_had_read_from_it(run: None) -> None:
    put("work/teacher", model__safetensors=model("second"))
    lock("teacher")
    said = broken().splitlines()
    assert [line.partition(":")[0] for line in said[:2]] == [
        "label@1 read another work/teacher than teacher has written",
        "student@1 read another work/teacher than teacher has written",
    ]
    assert "work/1/labels/manifest.json is of the teacher" in said[2]


def test_a_stage_that_read_a_file_of_a_folder(run: None) -> None:
    Path("dvc.yaml").write_text(DVC.replace("[work/1/student, work/baseline]", "[work/1/student/model.safetensors]"))
    lock()
    assert not broken()
    put("work/1/student", model__safetensors=model("second"))
    lock("student@1")
    assert broken().startswith("judge read another work/1/student/model.safetensors than student@1 has written")


@pytest.mark.parametrize("what", ["seed", "tasks/split.py"])
def test_params_and_code_that_differ_between_stages(run: None, what: str) -> None:
    if what == "seed":
        Path("params.yaml").write_text(yaml.safe_dump(PARAMS | {"seed": 8}))
    else:
        put("tasks", split__py=b"pass  # 2")
    lock("teacher")
    assert broken().startswith(f"split and teacher read {what} in two states: `dvc repro judge`")


def test_new_images_and_code_break_nothing_but_are_told(run: None) -> None:
    put("images", c__png=b"c")
    put("tasks", split__py=b"pass  # 2")
    found = lineage("work/judge")
    assert not found.broken
    assert found.notes == (
        "changed since these stages ran: images, tasks/split.py. This model is of what was there before; the next "
        "`dvc repro` takes the new in",
    )


def test_without_dvcs_copies_number_and_bytes_are_compared(run: None) -> None:
    Path(".dvc/cache").rename("elsewhere")
    found = lineage("work/judge")
    assert not found.broken
    assert found.notes[0].endswith("compared by number and bytes of the files; `dvc status` hashes them")
    assert found.steps[1].models == {"work/teacher/model.safetensors": TEACHER}
    put("work/teacher", learned_from__json=["labelled", "holdout"])
    assert broken().startswith("work/teacher: not as teacher wrote it")
    Path(".dvc").mkdir(exist_ok=True)
    Path(".dvc/config").write_text("[core]\n    analytics = false\n[cache]\n    dir = ../elsewhere\n['remote \"x\"']\n")
    assert broken().startswith("work/teacher/learned_from.json: not as teacher wrote it")


def test_of_what_is_large_number_and_bytes_are_compared(run: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_checks, "HASHED", 400)  # bytes: the split and the judge have more
    split = Path("work/split/split.parquet").read_bytes()
    put("work/split", split__parquet=split[::-1])
    assert not broken()
    assert lineage("work/judge").notes[0].startswith("work/split, work/judge: compared by number and bytes")
    put("work/split", split__parquet=split + b".")
    assert broken().startswith("work/split: not as split wrote it")


def test_a_judge_that_keeps_the_baseline_has_the_student_beside_it(run: None) -> None:
    put("work/judge", model__safetensors=model("baseline"), verdict__json=VERDICT | {"winner": "baseline"})
    lock("judge")
    found = lineage("work/judge")
    assert not found.broken
    assert [step.name for step in found.steps if not step.beside] == ["split", "baseline", "judge"]


def test_what_is_in_production(promoted: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"registry/production/model.safetensors {STUDENT[:12]}: student, ")
    head = git("rev-parse", "HEAD~1")[:12]
    assert f"In production from commit {head} of " in said
    assert f"'before', in place of {BASELINE[:12]}.\n" in said
    assert "Recorded in dvc.lock. " in said
    assert [step.name for step in lineage("registry/production/production.json").steps][-1] == "judge"


def test_production_of_an_earlier_run_is_read_from_git(promoted: None) -> None:
    """Its dvc.lock is not in the commit that production.json names, but in the one after it."""
    night = git("rev-parse", "HEAD")
    put("work/teacher", model__safetensors=model("half a run"))
    lock("teacher")
    git("commit", "--quiet", "--all", "--message", "no whole run")
    again()
    git("commit", "--quiet", "--all", "--message", "another night")
    found = lineage("registry/production")
    assert not found.broken
    assert found.lock == f"dvc.lock of commit {night[:12]}"
    assert found.notes == (f"another run has been here since: this is what dvc.lock of commit {night[:12]} records",)
    assert found.steps[-1].models == {"work/judge/model.safetensors": STUDENT}
    assert found.steps[-1].facts[0] == "the candidate wins. Promoted: better."
    assert lineage("work/judge").sha256 == sha256(model("other"))


def test_production_of_a_run_that_nobody_committed_is_known_by_what_lies_beside_it(
    promoted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nights, and nobody there in the morning."""
    monkeypatch.setattr(promote, "smoke_test", promote.sha256_of)
    again()
    promote.promote(Path("work/judge"), Path("registry"))
    again("a third")
    found = lineage("registry/production")
    assert not found.broken
    assert found.lock == "dvc.lock in registry/production/run.json"
    assert found.steps[-1].models == {"work/judge/model.safetensors": sha256(model("other"))}
    Path("registry/production/run.json").write_text('{"dvc.lock": "stages: {}"}')
    with pytest.raises(ValueError, match=r"run.json does not hold dvc.lock, dvc.yaml, params.yaml. `git checkout"):
        lineage("registry/production")


def test_tidying_leaves_what_production_and_commits_came_from(promoted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> set[str]:
        copies = {file.read_bytes() for file in Path(".dvc/cache/files/md5").rglob("*") if file.is_file()}
        return {name for name in ("student", "other", "nobody's", "here") if model(name) in copies}

    monkeypatch.setattr(promote, "smoke_test", promote.sha256_of)
    Path(".dvc/config").write_text("")
    again()
    promote.promote(Path("work/judge"), Path("registry"))
    for name in ("nobody's", "here"):
        again(name)
    (said,) = tidy(dry=True, older=False, remote=False)
    assert said.startswith("of DVC would go: ")
    assert kept() == {"student", "other", "nobody's", "here"}
    assert [*tidy(dry=False, older=False, remote=False)] == [said.replace("would go", "goes")]
    assert kept() == {"student", "other", "here"}
    assert not lineage("registry/production").broken
    assert len([*tidy(dry=False, older=True, remote=False)]) == 1
    assert kept() == {"other", "here"}
    assert not lineage("registry/production").broken


def test_of_runs_that_were_cut_off_only_what_lies_idle_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("idle", "at work"):
        put(f".tutelage/labels/{name}", shard=b"rows")
    os.utime(".tutelage/labels/idle/shard", (1e9, 1e9))
    os.utime(".tutelage/labels/idle", (1e9, 1e9))
    os.utime(".tutelage/labels/at work", (1e9, 1e9))
    Path(".tutelage/dvc.lock").touch()
    assert idle(1.5e9) == [Path(".tutelage/labels/idle")]


def test_a_model_that_only_run_json_records_and_dvc_lacks_is_told_where_to_find(
    promoted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promote, "smoke_test", promote.sha256_of)
    again()
    promote.promote(Path("work/judge"), Path("registry"))
    again("a third")
    shutil.rmtree(".dvc/cache")
    told = "docs/orchestration.md, Free the disk, fetches what registry/production/run.json names"
    assert any(each.endswith(told) for each in lineage("registry/production").broken)


def test_a_lock_that_is_not_committed_is_told(promoted: None) -> None:
    Path("dvc.lock").write_text(Path("dvc.lock").read_text() + "\n")
    assert lineage("registry/production").notes == (
        "dvc.lock is not committed: commit it with the registry before the next run writes over it",
    )


def test_the_run_of_a_verdict_that_nobody_has_recorded(promoted: None) -> None:
    change(verdict="0" * 64)
    assert broken("registry/production").startswith("the verdict that promoted it (000000000000) is in no dvc.lock")
    change(verdict=None)
    assert not broken("registry/production")
    found = lineage("registry/production")
    assert found.steps[-1].name == "student@1"  # where these bytes began
    assert found.notes == ("it was put into production by hand: no verdict was asked",)


def test_a_model_that_no_lock_records(promoted: None) -> None:
    put("registry/production", model__safetensors=model("foreign"))
    change(model=sha256(model("foreign")))
    assert broken("registry/production").startswith("no dvc.lock, here or in Git, has a stage that wrote this model")


def test_a_model_that_production_json_does_not_name(promoted: None) -> None:
    pointer = {"outs": [{"md5": entry("registry/production/model.safetensors")["md5"]}]}
    Path("registry/production/model.safetensors.dvc").write_text(yaml.safe_dump(pointer))
    put("registry/production", model__safetensors=model("foreign"))
    assert broken("registry/production") == (
        f"registry/production/model.safetensors is {sha256(model('foreign'))[:12]}, and production.json says "
        f"{STUDENT[:12]}: `dvc checkout --force registry/production/model.safetensors` restores it"
    )
    Path("registry/production/model.safetensors").unlink()
    assert broken("registry/production").endswith("is not here: `dvc pull registry/production/model.safetensors`")


def test_a_model_that_was_promoted_by_hand_and_is_in_no_dvc_file_yet(promoted: None) -> None:
    pointer = {"outs": [{"md5": entry("registry/production/model.safetensors")["md5"]}]}
    Path("registry/production/model.safetensors.dvc").write_text(yaml.safe_dump(pointer))
    put("registry/production", model__safetensors=model("teacher"))
    change(model=sha256(model("teacher")), verdict=None)
    found = lineage("registry/production")
    assert not found.broken
    assert found.steps[-1].name == "teacher"  # not the student of which the pointer still is


@pytest.mark.parametrize(
    ("commit", "told"),
    [("{head}-dirty", "-dirty: files had changed since"), ("0" * 40, "is not in this repo"), (None, "names no commit")],
)
def test_a_commit_that_does_not_tell(promoted: None, commit: str | None, told: str) -> None:
    change(git=commit and commit.format(head=git("rev-parse", "HEAD")))
    assert told in broken("registry/production")
    assert len(lineage("registry/production").steps) == 6


def test_a_judge_that_keeps_what_is_in_production_has_all_else_beside_it(promoted: None) -> None:
    reads = "deps: [registry/production, work/1/student, work/baseline]"
    Path("dvc.yaml").write_text(DVC.replace("deps: [work/1/student, work/baseline]", reads))
    lock("judge")
    found = lineage("work/judge")
    assert [step.name for step in found.steps if step.beside] == ["baseline"]  # of two with these bytes, the student
    assert found.notes == (
        "registry/production was read, too: `python -m tasks lineage registry/production` says where that comes from",
    )
    put("work/1/student", model__safetensors=model("worse"))
    lock("student@1", "judge")
    assert [step.name for step in lineage("work/judge").steps if not step.beside] == ["judge"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["work/committee"], "work/committee is written by no stage"),
        (["work/1"], r"several stages write (label@1, student@1): name the folder of one"),
        (["work/judge", "found.txt"], "OUT is found.txt: name a file that ends in .json"),
    ],
)
def test_bad_input(run: None, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_a_file_that_cannot_be_written(run: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert task(["lineage", "work/judge", "dvc.lock/found.json"]) == 1
    assert capsys.readouterr().err.startswith("lineage: ")
    assert task(["lineage", "work/judge", "found.json"]) == 0


def test_files_that_cannot_be_read(run: None) -> None:
    Path("dvc.lock").write_text("<<<<<<< HEAD\na: b: c\n")
    with pytest.raises(BadInput, match=r"dvc.lock, dvc.yaml or params.yaml cannot be read"):
        lineage("work/judge")
    Path("dvc.lock").unlink()
    with pytest.raises(BadInput, match="judge, which writes work/judge, has not run: `dvc repro judge`"):
        lineage("work/judge")
    Path("params.yaml").unlink()
    with pytest.raises(BadInput, match=r"params.yaml is not here: run this in the folder of the project"):
        lineage("work/judge")


def test_it_answers_without_torch(run: None) -> None:
    code = "import runpy, sys; sys.argv = ['tasks', 'lineage', 'work/judge']\n"
    code += "try: runpy.run_module('tasks', run_name='__main__')\n"
    code += "except SystemExit as end: print(end, 'torch' in sys.modules)"
    env = environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    said = subprocess.run([sys.executable, "-P", "-c", code], env=env, text=True, capture_output=True)
    assert said.stdout.endswith("Whole: every record fits the next.\n0 False\n"), said.stderr


def test_what_dvc_itself_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put("images", a__png=b"a")
    copy = "{cmd: mkdir -p out/%s && cp -r %s out/%s/, deps: [%s], params: [seed], outs: [out/%s]}"
    first, second = copy % ("a", "images", "a", "images", "a"), copy % ("b", "out/a", "b", "out/a", "b")
    Path("dvc.yaml").write_text(f"stages:\n  first: {first}\n  second: {second}\n")
    Path("params.yaml").write_text("seed: 1")
    for command in (["init", "-q", "--no-scm"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], env=environment(), check=True)
    found = lineage("out/b")
    assert [step.name for step in found.steps] == ["first", "second"]
    assert (found.broken, found.notes) == ((), ())
    Path("out/a/images/a.png").chmod(0o644)
    Path("out/a/images/a.png").write_bytes(b"b")
    assert broken("out/b").startswith("out/a/images/a.png: not as first wrote it")


TRAINED = {
    "teacher", "baseline", "oracle", "student", "guard", "judge", "alone", "compact", "compact_judge", "detector",
    "box_student", "box_guard", "box_judge", "box_compact", "box_compact_judge", "adapt_source", "adapt_student",
    "adapt_features", "adapt_round", "adapt_guard", "adapt_choose", "multi_teacher", "multi_student", "domain_round",
    "domain_choose", "adapt_scenes_train", "adapt_scenes_student",
}  # fmt: skip
STORES = {
    "calibrate": "calibration", "box_calibrate": "calibration", "pseudo_label": "manifest", "box_label": "manifest",
    "multi_label": "manifest", "box_names": "manifest",
}  # fmt: skip
MODELS = {
    "work/judge": "judge",
    "work/rounds/1/student": "student@1",
    "work/compress/judge": "compact_judge",
    "work/compress/students/1/model.safetensors": "compact@1",
    "work/compress/export/student/model.onnx": "export@student",
    "work/detection/judge": "box_judge",
    "work/detection/compact/judge": "box_compact_judge",
    "work/adapt/choice": "adapt_choose",
    "work/adapt/rounds/2/student": "adapt_round@2",
    "work/domain/choice": "domain_choose",
    "work/multitask/student": "multi_student",
    "work/adapt_scenes/source": "adapt_scenes_train@source",
}


def touch(path: str) -> None:
    """An empty file, or, where there is no suffix, a folder with one."""
    file = Path(path) if Path(path).suffix else Path(path, "a.py")
    put(str(file.parent), **{file.name.replace(".", "__"): b""})


def sources(stage: Stage, every: list[Stage]) -> set[Stage]:
    found = {one for one in every for path in one.writes if any(overlap(path, read) for read in stage.reads)}
    return found - {stage}


def act(stage: Stage) -> None:
    """Write what the stage writes."""
    verb, *words = shlex.split(stage.command.partition("-m tasks ")[2])
    for out in stage.writes:
        touch(out) if Path(out).suffix else put(out, **told_by(verb, words))


def told_by(verb: str, words: list[str]) -> dict[str, object]:
    """Files that a stage of this verb writes, its record of the teacher as of the model that its command names."""
    if verb not in STORES:
        return {"model__safetensors": model(words[-1])} if verb in TRAINED else {"report__md": b"\n"}
    if verb == "box_names":  # of the same teacher as the labels that it renames
        return {"manifest__json": json.loads(Path(words[0], "manifest.json").read_text())}
    teacher = {"teacher": sha256(Path(words[1], "model.safetensors").read_bytes())}
    return {f"{STORES[verb]}__json": {"images": 1, "kept": 1} | teacher}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages of the project's own dvc.yaml as if they had run."""
    folder = tmp_path_factory.mktemp("everything")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("dvc.yaml", "params.yaml"):
            Path(name).write_text((ROOT / name).read_text())
        every = stages(Path())
        for path in {path for stage in every for path in stage.reads if path.startswith(("src", "tasks"))}:
            touch(path)
        for path in ("data/fetched", "registry/champion", "registry/detector/champion"):
            touch(f"{path}/README.md")
        before = {stage: sources(stage, every) for stage in every}
        done: list[Stage] = []
        while len(done) < len(every):
            done += (ready := [stage for stage in every if stage not in done and before[stage] <= {*done}])
            for stage in ready:
                act(stage)
        lock(*(stage.name for stage in done))
    return folder


@pytest.mark.parametrize("path", MODELS)
def test_every_story_of_the_project_can_be_told(everything: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(everything)
    found = lineage(path)
    assert found.steps[-1].name == MODELS[path]
    assert found.steps[0].name == "fetch"
    assert {step.name for step in found.steps} == {stage.name for stage in needed(stages(Path()), MODELS[path])}
    assert found.broken == ()
