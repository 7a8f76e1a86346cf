# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What all commands share at their boundary: one line for what cannot be, exit code 130 for an interrupt."""

import errno
import io
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bionemo.scale.process import command
from bionemo.scale.process.command import killed, next_step, run_command
from bionemo.scale.process.interrupt import is_command
from bionemo.scale.run import train
from bionemo.scale.types import InputError


@pytest.mark.parametrize(
    ("started", "found"),
    [
        ("/usr/bin/bionemo-scale-train", True),
        (train.__file__, True),
        (command.__file__, False),
        ("/usr/lib/python3/site-packages/ipykernel_launcher.py", False),
    ],
)
def test_a_command_knows_itself(started, found, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert is_command() == found


_TAKEN = """
import sys
sys.argv[0] = "/usr/bin/of-another"
from bionemo.scale.process import interrupt
import os, signal, threading, time
from bionemo.scale.process.command import run_command

thread = threading.Thread(target=interrupt.take_process)
thread.start()
thread.join()
assert not interrupt.is_command()
interrupt.take_process()
assert interrupt.is_command()

def body(argv):
    with interrupt.ends_at_once():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)

sys.exit(run_command(body))
"""


def test_a_program_that_becomes_a_command_answers_as_one():
    done = subprocess.run([sys.executable, "-c", _TAKEN], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, "terminated\n")


def raising(error):
    def body(argv):
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a\n  b"), "error: a b"),
        (OSError(errno.EROFS, "Read-only file system", "x/y"), "error: x/y: Read-only file system"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), "error: a -> b: Invalid link"),
        (OSError("unable to open"), "error: unable to open"),
        (InputError("Caught InputError in DataLoader worker process 0.\nOriginal\n...InputError: it"), "error: it"),
        (
            UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid"),
            "error: expected text in UTF-8, found byte 0xff at position 1",
        ),
        (
            UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates"),
            "error: 'a\\udcff': '\\udcff' cannot be written as utf-8",
        ),
        (MemoryError(), "error: not enough memory"),
    ],
)
def test_what_goes_wrong_with_files_is_one_line_and_code_2(error, line, capsys):
    assert run_command(raising(error)) == 2
    assert capsys.readouterr().err.splitlines() == [line]


def test_an_interrupt_is_one_line_and_code_130(capsys):
    assert run_command(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.splitlines() == ["interrupted"]


def test_a_package_that_is_not_installed_is_named(capsys):
    assert run_command(raising(ModuleNotFoundError("No module", name="no_such_package"))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: this needs the Python package no_such_package, which is not installed; docs/")


_OF_A_PIPE = """
import os, sys
from bionemo.scale.process.command import run_command

def body(argv):
    os.read(0, 1)
    if sys.argv[1] == "prints":
        os.write(1, b"line")
    raise BrokenPipeError(32, "Broken pipe")

sys.exit(run_command(body))
"""


@pytest.mark.parametrize(("how", "code", "said"), [("prints", 0, ""), ("raises", 2, "error: Broken pipe\n")])
def test_only_a_screen_that_nobody_reads_any_more_is_no_error(how, code, said):
    """A pipe to another process, such as one that writes checkpoints, breaks when that process has ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OF_A_PIPE, how], stdin=-1, stdout=-1, stderr=-1, text=True, bufsize=1
    )
    if how == "prints":
        process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == (said, code)
    process.stderr.close()


_SAYS = """
import os, sys
from bionemo.scale.process.command import run_command
from bionemo.scale.types import InputError

def body(argv):
    os.read(0, 1)
    if sys.argv[1] == "notes":
        print("note", file=sys.stderr)
    raise InputError("refused")

code = run_command(body)
print("said", flush=True)
sys.exit(code)
"""


@pytest.mark.parametrize("how", ["notes", "refuses"])
def test_what_nobody_reads_on_stderr_is_no_failure_of_its_own(how):
    """As with ``2> >(head -1)``. The command is not done, and its exit code says so."""
    process = subprocess.Popen([sys.executable, "-c", _SAYS, how], stdin=-1, stdout=-1, stderr=-1, text=True)
    process.stderr.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert (process.stdout.read(), process.wait(timeout=60)) == ("said\n", 2)
    process.stdout.close()


@pytest.mark.parametrize("name", ["bionemo.scale.no_such", "json", None])
def test_a_part_of_our_own_or_of_an_installed_package_is_an_error(name):
    with pytest.raises(ModuleNotFoundError):
        run_command(raising(ModuleNotFoundError("No module", name=name)))


def test_an_error_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command(raising(ZeroDivisionError()))


def test_names_that_the_terminal_cannot_show_are_escaped(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", screen)
    assert run_command(lambda argv: print("naïve Ω")) == 0
    screen.flush()
    assert screen.buffer.getvalue() == b"na\xefve \\u03a9\n"


# A command whose body holds two files and asks for an interrupt of its own process, as a terminal does.
COMMAND = """
    import sys
    sys.argv[0] = "bionemo-scale-test"
    from bionemo.scale.process import interrupt
    import os, signal, time
    from pathlib import Path
    from bionemo.scale.process.command import next_step, run_command
    folder = Path(sys.argv[1])

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)

    def body(argv):
        with interrupt.removes(lambda: (folder / "log").unlink(missing_ok=True)):
            (folder / "log").touch()
{body}

    sys.exit(run_command(body))
"""
BODIES = {
    "plainly": "interrupted()",
    "swallowed by a library": """
while True:
    try:
        interrupted()
    except BaseException:
        time.sleep(0.01)
""",
    "at once": """
with interrupt.ends_at_once():
    try:
        interrupted()
    finally:
        print("unwound", file=sys.stderr)
""",
    "with a screen that is a log": """
from bionemo.scale.process.console import quiet_screen
with quiet_screen(folder / "log"), interrupt.ends_at_once():
    interrupted()
""",
    "with the signal handled late": """
import atexit
atexit.register(time.sleep, 20)
interrupted()
""",
}


@pytest.mark.parametrize("how", BODIES)
def test_a_command_answers_an_interrupt_within_seconds(how, tmp_path):
    body = textwrap.indent(textwrap.dedent(BODIES[how]), " " * 12)
    source = textwrap.dedent(COMMAND.format(body=body))
    # Not what a test runner in the background may have told its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = subprocess.run([sys.executable, "-c", source, tmp_path], capture_output=True, text=True, timeout=15)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


_STARTS_A_WORKER = """
import sys
sys.argv[0] = "bionemo-scale-test"
from bionemo.scale.process import interrupt
import multiprocessing, time

if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    worker.start()
    while not open(f"/proc/{worker.pid}/cmdline").read().count("spawn_main"):
        time.sleep(0.02)
    time.sleep(float(sys.argv[1]))
    worker.terminate()
    worker.join()
    print(worker.exitcode)
"""


def test_a_worker_that_its_parent_ends_says_nothing(tmp_path):
    (tmp_path / "starts.py").write_text(_STARTS_A_WORKER)
    done = subprocess.run([sys.executable, tmp_path / "starts.py", "3"], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")


def test_a_command_in_a_notebook_leaves_its_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []
    run_command(lambda argv: seen.append(signal.getsignal(signal.SIGINT)))
    assert seen == [before]


def test_the_line_can_be_pasted_into_a_shell():
    line = next_step("infer", checkpoint=Path("my run"), out="PREDICTED", with_controls="x")
    assert line == "next      bionemo-scale-infer --checkpoint 'my run' --out PREDICTED --with-controls x"


def test_a_refusal_is_one_line_for_a_terminal_whatever_it_names(capsys):
    def refuse(argv):
        raise InputError(f"a\x1b[31m\nb\udcff: {'x' * 5000} the end")

    assert run_command(refuse) == 2
    line = capsys.readouterr().err.rstrip("\n")
    assert line.startswith("error: a\\x1b[31m b\\udcff: xxx") and line.endswith("xxx the end")
    assert line.isprintable() and len(line) < 1100


_ON_A_FULL_DISK = """
import sys
from pathlib import Path
from bionemo.scale.process.command import run_command
from bionemo.scale.process.console import quiet_screen
from bionemo.scale.types import InputError

def fail(argv):
    with quiet_screen(Path("/dev/full")):
        raise InputError("what went wrong")

sys.exit(run_command(fail))
"""


def test_a_log_on_a_full_disk_does_not_swallow_the_refusal():
    done = subprocess.run([sys.executable, "-c", _ON_A_FULL_DISK], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: what went wrong\n")


_FILE_ON_A_FULL_DISK = """
import resource, sys
import h5py, numpy as np
from bionemo.scale.process.command import run_command

def write(argv):
    with h5py.File(sys.argv[1], "w") as file:
        file["x"] = np.zeros(100_000)
        # A limit on the size of files stands for a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        file["y"] = np.zeros(100_000)

sys.exit(run_command(write))
"""


def test_a_file_of_hdf5_on_a_full_disk_is_one_line(tmp_path):
    path = tmp_path / "cells.h5ad"
    command = [sys.executable, "-c", _FILE_ON_A_FULL_DISK, path]
    done = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {path}: File too large\n")


def test_signals_of_killed_processes_are_named():
    assert killed("it", 1) == killed("it", 0) == killed("it", 143) == ""
    assert (
        killed("it", -9)
        == killed("it", 137)
        == "it was ended by SIGKILL, which the system sends where memory runs out"
    )
    assert killed("it", -11) == "it was ended by SIGSEGV"
    assert killed("it", -35) == "it was ended by signal 35"
