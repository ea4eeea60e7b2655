"""Every kind of source against a real server, which is cut and started again in the middle."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import ghostyolo
from ghostyolo.errors import ConfigError, SourceError
from tests.live.servers import HlsServer, MjpegServer, RtspServer, Server, frame_at, free_port
from tests.runtime.colour_model import BLUE, MODEL_PATH, RED, picture
from tests.runtime.videos import damage_frame, write_video

pytestmark = pytest.mark.skipif("libx264" not in av.codecs_available, reason="this FFmpeg cannot write H.264")


class Seen:
    """What a watch in another thread gave and said."""

    def __init__(self, source: object, **options: object) -> None:
        self.results: list = []
        self.lines: list[str] = []
        self.watch = ghostyolo.watch(
            source, MODEL_PATH, callback=self.results.append, say=self.lines.append, **{"timeout": 2.0} | options
        )
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.watch.run()
        except Exception as error:
            self.error = error

    def __enter__(self) -> Seen:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.watch.stop()
        self._thread.join(20)

    def wait_for(self, condition: Callable[[], object], seconds: float = 25) -> None:
        """Wait, and fail with what was said."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.lines, len(self.results), self.error)
            time.sleep(0.02)

    def more(self, count: int) -> None:
        """Wait for so many further results."""
        target = len(self.results) + count
        self.wait_for(lambda: len(self.results) >= target)


@pytest.fixture
def make_server(tmp_path) -> Iterator[Callable]:
    numbers = itertools.count()

    def make(kind: type, port: int | None = None):
        if kind is not HlsServer:
            return kind(port)
        folder = tmp_path / f"hls-{next(numbers)}"
        folder.mkdir()
        return HlsServer(folder, port)

    return make


@pytest.mark.parametrize("kind", [MjpegServer, RtspServer, HlsServer])
def test_a_stream_that_is_cut_comes_back(kind, make_server):
    server = make_server(kind)
    with Seen(server.url) as seen:
        seen.more(5)
        assert {str(name) for name in seen.results[-1].detections.data["class_name"]} <= {"red", "blue"}
        assert seen.results[-1].age_ms < 2000
        server.stop()
        seen.wait_for(lambda: seen.lines)
        assert "lost" in seen.lines[0]
        server = make_server(kind, server.port)
        try:
            seen.wait_for(lambda: len(seen.lines) > 1)
            seen.more(5)
        finally:
            server.stop()
        assert "there after" in seen.lines[1]
        assert seen.watch.figures.to_json()["reconnects"] == 1
    assert "geheim" not in "".join([*seen.lines, *map(str, seen.results[-1].record().values())])


def test_a_stream_that_freezes_is_noticed():
    with MjpegServer() as server, Seen(server.url, timeout=1.0) as seen:
        seen.more(3)
        server.frozen.set()
        seen.wait_for(lambda: seen.lines)
        assert "nothing came for 1 s" in seen.lines[0]
        server.frozen.clear()
        seen.more(3)


def test_a_source_is_given_up_after_its_tries():
    with Seen(f"rtsp://127.0.0.1:{free_port()}/none", retries=1) as seen:
        seen.wait_for(lambda: seen.error is not None)
    assert "given up after 1 tries" in str(seen.error)
    assert "connection refused" in str(seen.error)


def test_a_wrong_password_is_one_line():
    class Wrong(RtspServer):
        password = "falsch"

    with Wrong() as server, Seen(server.url) as seen:
        seen.wait_for(lambda: seen.error is not None)
    assert "401 unauthorized" in str(seen.error)
    assert "falsch" not in str(seen.error) + "".join(seen.lines)


def test_a_web_page_is_no_video():
    class Html(Server):
        def serve(self, connection):
            connection.recv(4096)
            body = b"<!doctype html><html>sign in</html>" + b" " * 3000
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
            connection.sendall(head + body)

    with Html() as server, Seen(f"http://u:geheim@127.0.0.1:{server.port}/") as seen:
        seen.wait_for(lambda: seen.error is not None)
    assert "answers with a web page" in str(seen.error)
    assert "geheim" not in str(seen.error)


def test_several_sources_are_watched_at_once_and_one_that_fails_holds_up_none():
    with MjpegServer() as one, RtspServer() as other:
        sources = [one.url, other.url, f"http://127.0.0.1:{free_port()}/"]
        with Seen(sources, retries=0) as seen:
            seen.wait_for(lambda: {result.source for result in seen.results} == {0, 1})
            seen.wait_for(lambda: seen.watch.faults)
            seen.more(5)
    assert "connection refused" in seen.watch.faults[0]


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.mp4", [frame_at(number) for number in range(20)], fps=20)


def test_a_file_is_played_at_its_own_speed(clip):
    start = time.monotonic()
    figures = ghostyolo.watch(clip, MODEL_PATH).run().to_json()
    assert figures["read"] == 20
    assert figures["inferred"] + figures["dropped"] == 20
    assert time.monotonic() - start > 0.9


def test_every_frame_of_a_file_is_looked_at_even_by_a_slow_output(clip):
    results = []

    def slow(result):
        time.sleep(0.02)
        results.append(result)

    figures = ghostyolo.watch(clip, MODEL_PATH, callback=slow, every_frame=True).run().to_json()
    assert (figures["inferred"], figures["dropped"], len(results)) == (20, 0, 20)
    assert [round(result.captured, 2) for result in results[:3]] == [0, 0.05, 0.1]
    assert results[3].record()["frame"] == 3


def test_iterating_gives_results_and_ends():
    with MjpegServer() as server:
        seen = list(itertools.islice(ghostyolo.watch(server.url, MODEL_PATH), 3))
    assert [result.frame.image.shape for result in seen] == [(96, 128, 3)] * 3


def test_a_slow_consumer_never_stalls_the_network():
    with MjpegServer() as server:
        watch = ghostyolo.watch(server.url, MODEL_PATH, callback=lambda result: time.sleep(5))
        threading.Timer(2.5, watch.stop).start()
        watch._outputs[0].join = lambda seconds: None  # it need not wake up for this test
        assert watch.run().to_json()["inferred"] > 10
    assert watch._outputs[0].dropped > 5


def test_a_folder_that_fills_up(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    Image.fromarray(picture(64, 64, (0, 0, RED))).save(folder / "a.png")
    (folder / "notes.txt").write_text("x")
    (folder / "b.jpg").write_bytes(b"\xff\xd8broken")
    with Seen(folder) as seen:
        seen.wait_for(lambda: len(seen.results) == 1)
        Image.fromarray(picture(64, 64, (1, 1, BLUE))).save(folder / "c.png")
        seen.wait_for(lambda: len(seen.results) == 2)
        seen.wait_for(lambda: seen.watch.figures.to_json()["damaged"] == 1)
        seen.wait_for(lambda: len(seen.lines) == 2)
    assert [result.frame.name for result in seen.results] == ["a.png", "c.png"]
    assert "notes.txt is no picture" in seen.lines[0]
    assert "b.jpg is damaged" in seen.lines[1]


def test_damaged_frames_are_named_counted_and_left_out(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(8)]
    path = damage_frame(write_video(tmp_path / "a.avi", frames), 3)
    with Seen(path, every_frame=True) as seen:
        seen.wait_for(lambda: not seen.watch._worker.is_alive() and seen.watch._worker.ident)
    figures = seen.watch.figures.to_json()
    assert (figures["damaged"], figures["inferred"]) == (1, 7)
    assert "frame 4 is damaged" in seen.lines[0]


def test_a_phone_video_is_turned_upright(tmp_path):
    flat = write_video(tmp_path / "flat.mp4", [picture(128, 64, (0, 0, RED))] * 3)
    turned = tmp_path / "turned.mp4"
    data = bytearray(flat.read_bytes())
    # The matrix in the track's header: a, b, u, c, d, v of 90 degrees instead of the identity.
    place = data.index(b"tkhd") + 4 + 40
    one = (1 << 16).to_bytes(4, "big")
    assert data[place : place + 4] == one
    data[place : place + 20] = bytes(4) + one + bytes(4) + ((-1 << 16) & 0xFFFFFFFF).to_bytes(4, "big") + bytes(4)
    turned.write_bytes(data)
    result = next(iter(ghostyolo.watch(turned, MODEL_PATH, every_frame=True)))
    capture = cv2.VideoCapture(str(turned))
    expected = capture.read()[1][:, :, ::-1]
    assert result.frame.image.shape == expected.shape == (128, 64, 3)
    assert np.abs(result.frame.image.astype(int) - expected).mean() < 5


def test_sizes_that_change_go_on_in_the_same_video(tmp_path):
    class Changing(MjpegServer):
        def frames(self):
            for number, image in enumerate(super().frames()):
                yield image if number < 10 else frame_at(number, 96, 128)

    video = tmp_path / "out.mp4"
    with Changing() as server, Seen(server.url, video=str(video)) as seen:
        seen.wait_for(lambda: any("picture is now 96 x 128" in line for line in seen.lines))
        seen.more(3)
    with av.open(str(video)) as container:
        frames = list(container.decode(video=0))
    assert {(frame.width, frame.height) for frame in frames} == {(128, 96)}


def test_a_codec_that_is_missing_is_one_line(tmp_path):
    path = write_video(tmp_path / "a.avi", [frame_at(0)] * 3)
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"XYZ9"))
    with pytest.raises(SourceError, match="codec") as failure:
        ghostyolo.watch(path, MODEL_PATH, every_frame=True).run()
    assert "a.avi" in str(failure.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.mp4", "does not exist"),
        ("rtsp://admin:geheim@", "names no host"),
        ("rtsp://admin:geheim@host/a b", "write %20"),
        ("foo://admin:geheim@host/", "protocol not found"),
        ("97", "camera 97 cannot be opened"),
    ],
)
def test_sources_that_never_work_are_one_line(source, message):
    with pytest.raises(SourceError, match=message) as failure:
        ghostyolo.watch(source, MODEL_PATH).run()
    assert "geheim" not in str(failure.value)


def test_pictures_and_files_of_no_video_are_refused(tmp_path):
    Image.fromarray(picture(64, 64)).save(tmp_path / "a.png")
    (tmp_path / "b.mp4").write_bytes(b"nonsense" * 50)
    with pytest.raises(SourceError, match="ghostyolo predict reads it"):
        ghostyolo.watch(tmp_path / "a.png", MODEL_PATH)
    with pytest.raises(SourceError, match=r"b\.mp4 cannot be read as a video"):
        ghostyolo.watch(tmp_path / "b.mp4", MODEL_PATH).run()


def test_settings_that_cannot_be_are_refused(clip):
    with pytest.raises(ConfigError, match="of files alone, not of camera 0"):
        ghostyolo.watch([clip, 0], MODEL_PATH, every_frame=True)
    with pytest.raises(ConfigError, match="retrys"):
        ghostyolo.watch(clip, MODEL_PATH, retrys=3)
    with pytest.raises(ConfigError, match=r"\.mp4 or \.mkv"):
        ghostyolo.watch(clip, MODEL_PATH, video="a.avi")
    with pytest.raises(SourceError, match="decoder is 'turbo'"):
        ghostyolo.watch(clip, MODEL_PATH, decoder="turbo").run()
