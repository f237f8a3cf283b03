"""A reader that leaves, as `head` does, ends a command without a word."""

import os
import subprocess
import sys

import pytest

BEGIN = "import sys; from tasks.closed_pipe import quiet; command = quiet(lambda: {body}); sys.exit(command())"


def unread(root, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of `python ARGUMENTS`, whose stdout is a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=env, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [(), ("-u",)])
@pytest.mark.parametrize("body", ["print('much') or 0", "print('much', flush=True) or 0", "print('much') or 1 / 0"])
def test_what_nobody_reads_ends_as_a_shell_says_of_such_a_command(pytestconfig, body, unbuffered):
    assert unread(pytestconfig.rootpath, *unbuffered, "-c", BEGIN.format(body=body)) == (141, "")


def test_another_pipe_that_breaks_is_an_error(pytestconfig):
    body = "exec('import os; r, w = os.pipe(); os.close(r); os.write(w, b\"much\")')"
    done = subprocess.run(
        [sys.executable, "-c", BEGIN.format(body=body)], cwd=pytestconfig.rootpath, text=True, capture_output=True
    )
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


@pytest.mark.parametrize("command", [("tasks", "check"), ("flows.adapt", "--help")])
def test_tasks_and_flows_do_so(pytestconfig, command):
    assert unread(pytestconfig.rootpath, "-m", *command) == (141, "")


def test_a_task_that_cannot_tell_somebody_else_says_so(monkeypatch, capsys):
    from tasks import closed_pipe
    from tasks.__main__ import main

    def load():
        raise BrokenPipeError(32, "Broken pipe", "elsewhere")

    monkeypatch.setattr("tasks.params.load", load)
    monkeypatch.setattr("tasks.__main__.reader_left", lambda: False)
    assert closed_pipe.CLOSED != main(["check"]) == 1
    assert "check: Broken pipe: elsewhere\nNothing was written." in capsys.readouterr().err
