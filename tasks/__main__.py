"""Runs one task:  python -m tasks VERB IN... OUT

A task's positional paths are its inputs, in the order of its signature; the last path is what it writes.
`python -m tasks` lists the verbs, `python -m tasks VERB --help` says what is in the files.
`python -m tasks check` only validates params.yaml; `python -m tasks init FOLDER` writes your own images into it;
`python -m tasks answer FOLDER` adds what people have labelled in a folder of `ask` to your labelled images.
`python -m tasks estimate [TARGET]` says how long `dvc repro TARGET` will take here.
`python -m tasks lineage [MODEL] [OUT.json]` says where a model comes from, stage by stage, and whether that fits.

Exit codes: 0 done, 1 failed, or broken, of a lineage, 2 bad input or params.
"""

import argparse
import importlib
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tasks.closed_pipe import quiet, reader_left
from tasks.warm import handed_over

VERBS = (
    "fetch", "ingest", "split", "doctor", "teacher", "baseline", "oracle", "calibrate", "pseudo_label", "student",
    "evaluate", "guard", "judge", "report", "alone", "compact", "export", "compact_judge", "compare", "lesson",
    "committee", "pate", "ask", "box_ask", "box_export", "predict", "strings", "keypoints",
    "compose", "compose_domains", "scenes_ingest", "scenes_split", "detector", "box_calibrate", "box_label",
    "box_crops", "box_names", "box_student", "box_guard",
    "box_evaluate", "box_fuse", "box_judge", "box_report", "box_compact", "box_compact_judge",
    "drift", "domains", "adapt_ingest", "adapt_split", "adapt_doctor", "adapt_source", "translate", "adapt_student",
    "adapt_features", "adapt_calibrate", "adapt_round", "adapt_guard", "adapt_choose", "adapt_report",
    "adapt_scenes_ingest", "adapt_scenes_split", "adapt_scenes_train", "adapt_scenes_student", "adapt_scenes_report",
    "watch", "domain_round", "domain_choose",
    "multi_scenes_split", "multi_split", "multi_teacher", "multi_label", "multi_student", "multi_evaluate",
    "multi_report", "compact_depth",
)  # fmt: skip


@quiet
def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        print("\n".join(f"  {verb:21}{_first_line(_task(verb))}" for verb in VERBS))
        return 0
    verb, *paths = arguments
    if verb == "lineage":  # it answers before torch would be loaded
        return _lineage(paths)
    from tutelage.types import BadInput, Diverged  # after --help: it loads torch

    try:
        if verb in OTHERS:
            said = "\n".join(OTHERS[verb](paths))
            print(said.encode("utf-8", "backslashreplace").decode())  # a file's name may be no text
            return 0
        _see_that_it_is_known(verb)
        if paths in (["-h"], ["--help"]):
            print(f"{usage(verb)}\n\n{inspect.getdoc(_task(verb))}")
            return 0
        return _run(verb, [Path(path) for path in paths])
    except BadInput as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return 2
    except Diverged as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        return _unread_or_failed(verb, error)


def _see_that_it_is_known(verb: str) -> None:
    from tasks.mistakes import nearest
    from tutelage.types import BadInput

    if verb not in VERBS:
        raise BadInput(f"{verb!r} is not a task{nearest(verb, (*VERBS, *OTHERS, 'lineage'))}")


def _unread_or_failed(verb: str, error: OSError) -> int:
    if isinstance(error, BrokenPipeError) and reader_left():
        raise error
    where = error.filename2 or error.filename or ""  # of two, the one that was to be written
    print(f"{verb}: {error.strerror or error}: {where}\nNothing was written.", file=sys.stderr)
    return 1


def _check(paths: list[str]) -> list[str]:
    from tasks.fair import uneven, uneven_scenes
    from tasks.graph import check_roots, check_written
    from tasks.params import load
    from tutelage.types import BadInput

    if paths:
        raise BadInput(f"{' '.join(paths)} given. Usage: python -m tasks check, which checks params.yaml here")
    params = load()
    check_written(Path(), params)
    check_roots(Path(), params)
    told = [*uneven(params), *uneven(params.detection, section="detection."), *uneven_scenes(params.adapt_scenes)]
    return ["params.yaml is valid", *told, *(f"Refused if asked for: {why}" for _, why in params.idle())]


def _init(paths: list[str]) -> list[str]:
    from tasks.init import init
    from tutelage.types import BadInput

    if len(paths) != 1 or paths[0] in ("-h", "--help"):
        raise BadInput(f"{len(paths)} path(s) given. Usage: python -m tasks init FOLDER\n\n{inspect.getdoc(init)}")
    return init(Path(paths[0]))


def _answer(paths: list[str]) -> list[str]:
    from tasks.answer import answer
    from tasks.params import load

    parser = argparse.ArgumentParser(
        prog="python -m tasks answer", description=inspect.getdoc(answer), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what `python -m tasks ask` wrote")
    parser.add_argument("domain", nargs="?", metavar="DOMAIN", help="of ingest.labelled, where it names several")
    parser.add_argument("--new", action="append", default=[], metavar="CLASS", help="a class from now on; repeat it")
    given = parser.parse_args(paths)
    return answer(given.folder, params=load(), domain=given.domain, new=given.new)


def _estimate(arguments: list[str]) -> list[str]:
    from tasks.estimate import main

    return main(arguments)


def _lineage(arguments: list[str]) -> int:
    from tasks.lineage import main

    try:
        return main(arguments)
    except OSError as error:
        return _unread_or_failed("lineage", error)


OTHERS = {"check": _check, "init": _init, "answer": _answer, "estimate": _estimate}  # not tasks: none has an OUT


def usage(verb: str) -> str:
    """The command line of a task, read from its signature."""
    needed, others = _inputs(_task(verb))
    return f"python -m tasks {verb} {' '.join([*needed, *(f'[{name}]' for name in others)])} OUT"


def _run(verb: str, paths: list[Path]) -> int:
    from tasks.unchanged import unchanged

    with unchanged():
        _act(verb, paths)
    return 0


def _act(verb: str, paths: list[Path]) -> None:
    from tasks.finished import forget_recorded
    from tasks.io import KEEPS, check_out
    from tasks.params import load
    from tutelage.types import BadInput

    params = load()
    task = _task(verb)
    needed, others = _inputs(task)
    if not len(needed) < len(paths) <= len(needed) + len(others) + 1:
        raise BadInput(f"{len(paths)} path(s) given. Usage: {usage(verb)}")
    *inputs, out = paths
    for path in inputs:
        if not path.exists():
            raise BadInput(f"{path} does not exist. `dvc repro` makes it, or correct the path.")
    check_out(out, inputs, KEEPS.get(verb, ()))
    forget_recorded()
    task(*inputs, params=params, out=out)


def _task(verb: str) -> Callable[..., Path]:
    function: Callable[..., Path] = getattr(importlib.import_module(f"tasks.{verb}"), verb)
    return function


def _inputs(task: Callable[..., Path]) -> tuple[list[str], list[str]]:
    """Names of the paths that a task needs, and of those that it may do without."""
    paths = [p for p in inspect.signature(task).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    needed, others = ([p.name.upper() for p in paths if (p.default is p.empty) is must] for must in (True, False))
    return needed, others


def _first_line(task: Callable[..., Path]) -> str:
    return (inspect.getdoc(task) or "").splitlines()[0]


def _die_with_flow() -> None:
    """A stage must not outlive the flow that wanted it, whose process the variable names, nor the DVC between them.

    Being ended with the parent would not do: that may be a shell, which stays when DVC is killed.
    """
    flow = os.environ.pop("TUTELAGE_FLOW", None)  # a fork in this stage's place ends with it, and need not look too
    if not flow:
        return
    above = _ancestors()
    if int(flow) not in above:
        sys.exit("the flow that wanted this stage has ended")
    above = above[: above.index(int(flow)) + 1]
    threading.Thread(target=_end_without, args=(above,), daemon=True).start()


def _give_way() -> None:
    """A flow may want this stage to be nice to those that it waits for. A fork gives way in place of its caller."""
    os.nice(int(os.environ.pop("TUTELAGE_NICE", "0")))


def _end_without(above: list[int]) -> None:
    """Whoever dies, the processes below it get another parent."""
    while _ancestors()[: len(above)] == above:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _ancestors() -> list[int]:
    """Process numbers of the parent, its parent and so on. None where one of them ends meanwhile."""
    try:
        return [process.pid for process in psutil.Process().parents()]
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    _die_with_flow()
    code = handed_over(sys.argv[1:])
    if code is None:
        _give_way()
        code = main(sys.argv[1:])
    sys.exit(code)
