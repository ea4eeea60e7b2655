"""What other libraries print stays off the console, whatever state the console is in."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import warnings

import pytest

from ghostyolo.silence import silence

EVERYTHING = """
import logging, os, sys, warnings
from ghostyolo.silence import silence
with silence() as lines:
    os.write(2, b"native\\n")
    print("python", file=sys.stderr)
    logging.getLogger("library").warning("log")
    warnings.warn("advice")
print(lines, file=sys.stderr)
"""


def run(code: str, closing: str = "") -> subprocess.CompletedProcess:
    command = ["sh", "-c", f'"$0" -c "$1" {closing}', sys.executable, code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("closing", ["", ">&-", "<&- >&-"])
def test_output_of_every_kind_is_held_back(closing):
    done = run(EVERYTHING, closing)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == "['native', 'python']\\n".replace("\\n", "\n")


@pytest.mark.parametrize("stream", [None, "closed"])
def test_an_absent_or_closed_stream_is_no_error(monkeypatch, stream):
    file = None if stream is None else io.StringIO()
    if file is not None:
        file.close()
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "stderr", file)
    with silence() as lines:
        print("hidden")
    assert lines == ["hidden"]
    assert sys.stdout is file


def test_errors_pass_and_all_is_as_before_afterwards(capfd):
    with pytest.raises(ValueError, match="told"), silence():
        raise ValueError("told")
    print("shown")
    assert capfd.readouterr().out == "shown\n"
    assert logging.root.manager.disable == logging.NOTSET
    with pytest.warns(UserWarning, match="again"):
        warnings.warn("again", stacklevel=1)
