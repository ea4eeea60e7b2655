"""Outputs stay whole: after signals, on a full disk, with a port in use."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

import av
import numpy as np
import pytest

import ghostyolo
from ghostyolo.errors import ConfigError, OutputError
from ghostyolo.live.figures import Histogram
from ghostyolo.live.outputs.rows import LineFile
from ghostyolo.live.outputs.window import tiled
from tests.live.servers import MjpegServer, frame_at
from tests.runtime.colour_model import MODEL_PATH
from tests.runtime.videos import write_video


def frames_of(path: Path) -> int:
    """How many frames of a video can be played."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.mp4", [frame_at(number) for number in range(20)], fps=20)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_written_is_whole_after_a_signal(number, suffix, tmp_path):
    if suffix == ".mkv" and number != signal.SIGKILL:
        pytest.skip("the same code as for .mp4")
    video, lines = tmp_path / f"out{suffix}", tmp_path / "out.jsonl"
    with MjpegServer() as server:
        words = ["watch", server.url, "--weights", MODEL_PATH, "--video", video, "--json", lines]
        process = subprocess.Popen(
            [sys.executable, "-m", "ghostyolo.cli.main", *map(str, words)], stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 60
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 30):
            assert time.monotonic() < end, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(records) >= 30
    assert "geheim" not in said + lines.read_text()
    if number == signal.SIGKILL:
        assert frames_of(video) >= 10
    else:
        assert process.returncode == 0
        assert frames_of(video) >= 20
        assert "frames read" in said
        with av.open(str(video)) as container:  # as fast as it was, not as fast as the stream says
            times = [datetime.fromisoformat(record["time"]).timestamp() for record in records]
            assert container.duration / av.time_base == pytest.approx(times[-1] - times[0], abs=0.5)


def test_a_full_disk_ends_one_output_and_leaves_it_whole(tmp_path):
    rng = np.random.default_rng(0)
    clip = write_video(tmp_path / "noise.mp4", [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(60)])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    said: list[str] = []
    watch = ghostyolo.watch(
        clip,
        MODEL_PATH,
        every_frame=True,
        say=said.append,
        video=str(tmp_path / "o.mkv"),
        json_lines=str(tmp_path / "o.jsonl"),
        csv=str(tmp_path / "o.csv"),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
    try:
        figures = watch.run().to_json()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert figures["inferred"] == 60
    assert sorted(line.split(":")[0] for line in said) == [
        f"cannot write the video {tmp_path / 'o.mkv'}",
        f"cannot write to {tmp_path / 'o.jsonl'}",
    ]
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert 0 < len(records) < 60
    assert (tmp_path / "o.csv").read_text().startswith("source,time,frame")


def test_lines_go_on_behind_whole_ones(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("head\n1\n2 is cut")
    lines = LineFile(str(path), "head\n")
    lines.append("3\n")
    lines.close()
    assert path.read_text() == "head\n1\n3\n"
    with pytest.raises(OutputError, match="cannot write"):
        LineFile(str(path / "b.csv"))


def test_a_video_is_never_replaced(clip, tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"mine")
    watch = ghostyolo.watch([clip, clip], MODEL_PATH, every_frame=True, video=str(tmp_path / "out.mp4"))
    assert [note.split("/")[-1] for note in watch.notes] == ["out-1.mp4", "out-2.mp4"]
    watch = ghostyolo.watch(clip, MODEL_PATH, every_frame=True, video=str(tmp_path / "out.mp4"))
    watch.run()
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"
    assert frames_of(tmp_path / "out-2.mp4") == 20
    with av.open(str(tmp_path / "out-2.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(1, abs=0.1)  # the speed of the file, not of the run


def test_the_live_page_shows_video_and_figures():
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with MjpegServer() as server:
        watch = ghostyolo.watch(server.url, MODEL_PATH, serve="0")
        results = iter(watch)
        next(results)
        url = watch.notes[0].removeprefix("live page: ")
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url, timeout=5) as answer:
            page = answer.read().decode()
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "https://" not in page  # nothing comes from elsewhere
        time.sleep(0.3)
        with urllib.request.urlopen(url + "state.json", timeout=5) as answer:
            state = json.loads(answer.read())
        assert state["sources"][0]["now"]["red"] == 1
        assert state["figures"]["inferred"] > 0
        assert "geheim" not in json.dumps(state)
        with urllib.request.urlopen(url + "video/0.mjpg", timeout=5) as answer:
            assert answer.headers.get_content_type() == "multipart/x-mixed-replace"
            assert b"\xff\xd8" in answer.read(2000)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}), timeout=5)
        with pytest.raises(OutputError, match="the port is in use"):
            ghostyolo.watch(server.url, MODEL_PATH, serve=url.split("/")[2])
        results.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(url.split(":")[-1].strip("/")))) != 0


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "127.0.0.1:99999", ":x"])
def test_an_address_of_another_form_is_refused(address, clip):
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        ghostyolo.watch(clip, MODEL_PATH, serve=address)


@pytest.mark.skipif(bool(os.environ.get("DISPLAY")), reason="there is a display")
def test_a_window_without_a_display_is_one_line(clip):
    with pytest.raises(OutputError, match="use --serve"):
        ghostyolo.watch(clip, MODEL_PATH, show=True)


def test_pictures_of_several_sources_lie_side_by_side():
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    canvas = tiled([red, None, red], 1000, 1000)
    assert canvas.shape == (20, 40, 3)
    assert canvas[5, 5, 0] == canvas[15, 5, 0] == 255
    assert canvas[5, 35].sum() == 0
    assert tiled([np.zeros((400, 800, 3), np.uint8)], 200, 200).shape == (200, 200, 3)


def test_percentiles_of_any_number_of_values():
    values = Histogram()
    assert values.percentile(0.5) is None
    for value in range(1, 1001):
        values.add(value)
    assert values.percentile(0.5) == pytest.approx(500, rel=0.03)
    assert values.percentile(0.95) == pytest.approx(950, rel=0.03)
