"""What every command shares: its start, its end after a mistake, its progress bar."""

import errno
import io
import os
import signal
import subprocess
import sys
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from pipeline.program.command import command
from pipeline.program.errors import UserError, clip, note
from pipeline.program.progress import progress
from tests.support.project import ROOT


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    options = {"env": os.environ | environment, "cwd": ROOT, "encoding": "utf-8"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, **options)


def run(error: BaseException | None):
    """Run a command that raises an error, if one is given."""

    @command
    def work() -> None:
        if error is not None:
            raise error
        print("done")

    return CliRunner().invoke(work, [])


def test_command_without_a_mistake():
    result = run(None)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "done\n", "")
    assert "completion" not in CliRunner().invoke(command(lambda: None), ["--help"]).stdout


FULL = OSError(errno.ENOSPC, "No space left on device", "mlp.npz")
OBEYED = UserError("\x1b[31m.png: two\nlines.")  # by a terminal that shows a file's name


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("it is too long."), "it is too long."),
        (OBEYED, "?[31m.png: two\nlines."),
        (FULL, "mlp.npz: No space left on device."),
        (MemoryError("5 bytes"), "there is not enough memory (5 bytes)."),
    ],
    ids=repr,
)
def test_mistake_ends_a_command_with_a_sentence(error, sentence):
    result = run(error)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"error: {sentence}\n")


def test_ctrl_c_is_the_same_if_it_breaks_a_clean_up():
    """In some moments zipfile raises another error when it closes."""

    def work() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise ValueError("Can't close the ZIP file")

    broken, plain = CliRunner().invoke(command(work), []), run(KeyboardInterrupt())
    assert (broken.exit_code, broken.output) == (plain.exit_code, plain.output)
    assert type(broken.exception) is type(plain.exception) is SystemExit


def test_real_command_has_pythons_own_traceback_and_any_terminal():
    """Python shows an unforeseen error. A terminal without a character gets a question mark."""
    work = "def work():\n    print('1 ± 2')\n    raise OSError('unforeseen')\n"
    code = f"from pipeline.program.command import command\n{work}\ncommand(work)()"
    done = python("-c", code, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (1, "1 ? 2\n")
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert done.stderr.splitlines()[-1] == "OSError: unforeseen"


def test_clip_cuts_long_texts_and_takes_what_cannot_be_printed_out():
    assert clip("a" * 80) == "a" * 80
    assert clip("a" * 81) == "a" * 77 + "..."
    assert clip("a\nb\x1b[31m é\u200c") == "a b [31m é\u200c"


def test_nothing_is_said_without_a_note_a_stream_or_a_reader(monkeypatch, capsys):
    monkeypatch.setattr("pipeline.program.progress.INTERVAL", 0.0)
    gone, silent = io.StringIO(), io.StringIO()
    gone.write = Mock(side_effect=BrokenPipeError)
    for stream, described in ((None, str), (gone, str), (silent, None)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(progress(iter("abc"), "Working", 3, note=described)) == ["a", "b", "c"]
        note("said")
    assert (capsys.readouterr().out, silent.getvalue()) == ("", "said\n")
    assert gone.write.called


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(monkeypatch, capsys):
    times = iter([0.0, 9.9, 10.0, 10.0, 19.9, 20.1, 20.1])
    monkeypatch.setattr("pipeline.program.progress.time.monotonic", lambda: next(times))
    assert "".join(progress(iter("0123"), "Training", 4, note=lambda n: f"epoch {n}")) == "0123"
    assert capsys.readouterr().err == "Training: epoch 1\nTraining: epoch 3\n"


# How a command starts

# So does Python 3.11
WRAPPED = "raise RuntimeError('Error calling __set_name__') from KeyboardInterrupt()"
# `stages` is imported first, and takes care of what happens in the imports that follow
ENDS = {
    # On Unix, from a shell, on Windows
    "Ctrl-C": ("raise KeyboardInterrupt", (-signal.SIGINT, 130, 0xC000013A), ""),
    "wrapped": (WRAPPED, (130,), ""),
    "another error": ("raise ImportError('half installed')", (1,), "ImportError: half installed"),
}


@pytest.mark.parametrize("how", ENDS)
def test_ctrl_c_while_a_stage_imports_is_silent_and_other_errors_are_shown(tmp_path, how):
    code, ends, last = ENDS[how]
    (tmp_path / "command").mkdir()
    (tmp_path / "command" / "__init__.py").write_text("import stages")
    (tmp_path / "command" / "__main__.py").write_text(code)
    done = python("-m", "command", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode in ends
    assert done.stdout == ""
    assert done.stderr.startswith("Traceback (most recent call last):" if last else "")
    assert done.stderr.rpartition("\n")[0].endswith(last)
    assert bool(done.stderr) == bool(last)


OLD = "import sys; sys.version_info = {}; from pipeline.program.start import start; start()"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("-S", "-m", "stages.train"), "lacks "),
        (("-c", OLD.format((3, 11, 3, "final", 0))), "is Python "),
        (("-c", OLD.format((3, 11, 4, "final", 0))), ""),
    ],
)
def test_python_that_is_too_old_or_without_the_packages_is_one_sentence(words, reason):
    done = python(*words)
    if reason:
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {sys.executable} {reason}")
        assert done.stderr.count("\n") == 1
    else:
        assert (done.returncode, done.stderr) == (0, "")
