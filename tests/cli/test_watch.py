"""``ghostyolo watch`` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.live.servers import frame_at
from tests.runtime.colour_model import MODEL_PATH
from tests.runtime.videos import write_video


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", [frame_at(number) for number in range(6)], fps=20)


def test_json_lines_go_to_standard_output_and_all_else_beside_it(run_cli, clip, tmp_path):
    done = run_cli(
        *("watch", clip, "--weights", MODEL_PATH, "--every-frame", "--json", "-"),
        *("--csv", tmp_path / "a.csv", "--video", tmp_path / "a.mkv"),
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["frame"] for record in records] == list(range(6))
    assert records[1]["time"] == pytest.approx(0.05)
    assert records[0]["objects"][0]["class"] == "red"
    assert "6 frames read, 6 looked at" in done.stderr
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + sum(len(record["objects"]) for record in records)


def test_mistakes_are_one_line(run_cli, clip):
    done = run_cli("watch", "missing.mp4", "--weights", MODEL_PATH)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    done = run_cli("watch", clip, "--weights", MODEL_PATH, "--video", "a.avi")
    assert done.returncode == 2
    assert "'video' is 'a.avi'" in done.stderr


def test_it_ends_when_nobody_reads(clip):
    words = f"{sys.executable} -m ghostyolo.cli.main watch {clip} --weights {MODEL_PATH} --every-frame --json - | true"
    done = subprocess.run(
        ["bash", "-c", f"{words}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "1"
    assert "cannot write to standard output: Broken pipe" in done.stderr
    assert "Traceback" not in done.stderr
