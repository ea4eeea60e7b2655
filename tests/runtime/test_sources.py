"""Everything that can be looked at becomes one stream of RGB frames; what cannot be read says so."""

from __future__ import annotations

import http.server
import io
import os
import re
import socketserver
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from ghostyolo.errors import SourceError
from ghostyolo.runtime.sources import Sources, continues
from tests.runtime.colour_model import BLUE, GREEN, RED, picture
from tests.runtime.videos import damage_frame, write_video


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.png", "a.png", "sub/c.png", ".hidden.png"):
        Image.fromarray(picture(32, 32, (0, 0, RED))).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def server(folder):
    write_video(folder / "film.mp4", [picture(64, 64)] * 3)
    (folder / "broken.png").write_bytes(b"broken")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def names(sources):
    return [frame.name for frame in Sources(sources)]


def test_folder_gives_its_pictures_and_videos_by_name(folder):
    write_video(folder / "aa.mp4", [picture(64, 64)] * 2)
    assert names(folder) == ["a.png", "aa.mp4", "aa.mp4", "b.png"]


def test_glob_is_expanded_and_may_reach_into_subfolders(folder):
    assert names(str(folder / "*.png")) == ["a.png", "b.png"]
    assert names(str(folder / "**" / "*.png")) == ["a.png", "b.png", "c.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(folder):
    Image.fromarray(picture(32, 32)).save(folder / "a[1].png")
    assert names(folder / "a[1].png") == ["a[1].png"]


def test_several_sources_keep_their_order(folder):
    assert names([folder / "b.png", str(folder / "a.png"), picture(8, 8)]) == ["b.png", "a.png", "image-2"]


def test_frames_are_rgb_and_know_their_file(folder):
    frame = next(iter(Sources(folder / "a.png")))
    assert frame.image.shape == (32, 32, 3)
    assert frame.image[0, 0].tolist() == [255, 0, 0]
    assert frame.path == folder / "a.png"
    assert frame.frame_index is None


def test_arrays_and_pil_images():
    grey = np.full((4, 6), 7, np.uint8)
    deep = np.array([[0, 65535]], np.uint16)
    pil = Image.fromarray(picture(32, 32, (0, 0, GREEN)))
    frames = list(Sources([grey, deep, pil]))
    assert frames[0].image.shape == (4, 6, 1)
    assert frames[1].image.ravel().tolist() == [0, 255]
    assert frames[2].image[0, 0].tolist() == [0, 255, 0]
    assert [frame.path for frame in frames] == [None] * 3


def test_arrays_of_other_kinds_are_refused():
    with pytest.raises(SourceError, match=r"must be .* uint8 or uint16, RGB; this one is \(4, 4, 3\) of float64"):
        next(iter(Sources(np.zeros((4, 4, 3)))))
    with pytest.raises(SourceError, match="not int"):
        next(iter(Sources([5])))


def test_video_frames_are_rgb_and_counted(tmp_path):
    path = write_video(tmp_path / "v.mp4", [picture(64, 64, (0, 0, BLUE)), picture(64, 64, (0, 0, RED))], fps=12)
    frames = list(Sources(path))
    assert [(frame.frame_index, frame.fps, frame.path) for frame in frames] == [(0, 12, path), (1, 12, path)]
    assert frames[0].image[16, 16, 2] > 200 > 60 > frames[0].image[16, 16, 0]
    assert frames[1].image[16, 16, 0] > 200 > 60 > frames[1].image[16, 16, 2]


def test_addresses_of_pictures_and_videos(server):
    frames = list(Sources([f"{server}/a.png?size=1", f"{server}/film.mp4"]))
    assert [(frame.name, frame.frame_index, frame.path) for frame in frames] == [
        ("a.png", None, None),
        ("film.mp4", 0, None),
        ("film.mp4", 1, None),
        ("film.mp4", 2, None),
    ]


@pytest.mark.parametrize("place", ["absent.png", "broken.png"])
def test_address_that_cannot_be_read_is_named(server, place):
    with pytest.raises(SourceError, match=f"{server}/{place}"):
        list(Sources(f"{server}/{place}"))


def test_address_without_a_server():
    for address in ("http://127.0.0.1:9/a.png", "http://[oops/a.png"):
        with pytest.raises(SourceError) as error:
            list(Sources(address))
        assert "\n" not in str(error.value)


def test_passwords_in_addresses_are_not_shown():
    for address in ("http://me:geheim@127.0.0.1:9/a.png?token=geheim", "rtsp://me:geheim@camera/live"):
        with pytest.raises(SourceError) as failure:
            list(Sources(address))
        assert "geheim" not in str(failure.value)
    stream = Sources(["http://me:geheim@127.0.0.1:9/a.png", np.zeros((8, 8, 3), np.uint8)])
    list(stream)
    assert stream.faults
    assert "geheim" not in repr(stream.faults)


def test_missing_path_empty_folder_and_glob_without_match_are_found_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"absent\.jpg does not exist"):
        Sources([tmp_path / "absent.jpg"])
    with pytest.raises(SourceError, match="holds no pictures or videos"):
        Sources(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"nothing matches .*\*\.jpg"):
        Sources(str(tmp_path / "*.jpg"))
    with pytest.raises(SourceError, match="no sources given"):
        Sources([])


def test_broken_pictures_among_others_are_skipped_and_kept_with_the_reason(folder):
    (folder / "aa.png").write_bytes((folder / "a.png").read_bytes()[:50])
    (folder / "ab.mp4").write_bytes(b"no video")
    sources = Sources(folder)
    assert [frame.name for frame in sources] == ["a.png", "b.png"]
    assert [name for name, _ in sources.skipped] == ["aa.png", "ab.mp4"]
    assert "cannot be decoded" in sources.skipped[0][1]
    assert "cannot be read as a video" in sources.skipped[1][1]


def test_a_second_pass_counts_afresh(folder):
    (folder / "aa.png").write_bytes(b"broken")
    sources = Sources(folder)
    assert len(list(sources)) == len(list(sources)) == 2
    assert len(sources.skipped) == 1


@pytest.mark.parametrize("name", ["broken.png", "broken.mp4"])
def test_a_single_broken_file_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(SourceError, match=f"{name} cannot be"):
        list(Sources(tmp_path / name))


def test_nothing_readable_is_an_error(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(SourceError, match=r"none of the 2 sources can be read; the first: .*a\.png"):
        list(Sources(tmp_path))


class Answers(socketserver.BaseRequestHandler):
    """A server that answers in the ways that servers should not."""

    def handle(self):
        path = self.request.recv(4096).split()[1].decode("ascii")
        good = io.BytesIO()
        Image.fromarray(picture(32, 32)).save(good, "PNG")
        body, ok = good.getvalue(), b"HTTP/1.1 200 OK\r\n"
        self.request.sendall(
            {
                "/good.png": ok + b"\r\n" + body,
                "/my%20%E5%9B%BE.png?a=%20b": ok + b"\r\n" + body,
                "/chunks.png": ok + b"Transfer-Encoding: chunked\r\n\r\n100\r\n" + body[:20],
                "/short.png": ok + b"Content-Length: 5000\r\n\r\n" + body,
                "/status.png": b"garbage\r\n\r\n",
                "/empty.png": b"",
                "/header.png": ok + b"X: " + b"a" * 70000,
                "/headers.png": ok + b"X: a\r\n" * 500,
                "/loop.png": b"HTTP/1.1 302 Found\r\nLocation: /loop.png\r\n\r\n",
                "/nowhere.png": b"HTTP/1.1 302 Found\r\nLocation: http://[oops\r\n\r\n",
                "/local.png": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
                "/length.png": ok + b"Content-Length: many\r\n\r\n" + body,
                "/slow.png": ok + b"\r\n" + body[:5],
            }[path]
        )
        if path == "/slow.png":
            for byte in body[5:40]:
                time.sleep(0.05)
                self.request.sendall(bytes([byte]))


@pytest.fixture
def odd_server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answers) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_address[1]}"
        running.shutdown()


BROKEN_ANSWERS = {
    "chunks.png": "IncompleteRead",
    "short.png": r"the connection was cut after \d+ bytes",
    "status.png": "garbage",
    "empty.png": "without response|reset",
    "header.png": "more than 65536 bytes",
    "headers.png": "more than 100 headers",
    "loop.png": "infinite loop",
    "nowhere.png": "IPv6",
    "local.png": "not allowed",
}


@pytest.mark.parametrize(("place", "reason"), BROKEN_ANSWERS.items())
def test_a_broken_answer_is_one_line_and_the_other_sources_go_on(odd_server, folder, place, reason):
    address = f"http://{odd_server}/{place}"
    sources = Sources([folder / "a.png", address, folder / "b.png"])
    assert [frame.name for frame in sources] == ["a.png", "b.png"]
    (fault,) = sources.faults
    assert fault.source == address
    assert "\n" not in fault.reason
    assert re.search(reason, fault.reason)


def test_an_answer_that_never_ends_is_given_up(odd_server, monkeypatch):
    monkeypatch.setattr("ghostyolo.runtime.sources.URL_TIMEOUT_SECONDS", 0.5)
    with pytest.raises(SourceError, match=r"only \d+ bytes in"):
        list(Sources(f"http://{odd_server}/slow.png"))


def test_addresses_with_spaces_other_letters_and_capitals_are_fetched(odd_server):
    for address in (f"http://{odd_server}/my 图.png?a= b", f"HTTP://{odd_server}/my%20%E5%9B%BE.png?a=%20b#part"):
        assert names(address) == ["my 图.png"]


@pytest.mark.parametrize(
    "address", ["http://", "http://[::1/a.png", "https://a b/c.png", "http://ex\xe4mple.invalid/\x00.png"]
)
def test_an_impossible_address_is_one_line(address):
    with pytest.raises(SourceError, match="cannot be fetched") as error:
        list(Sources(address))
    assert "\n" not in str(error.value)


def test_frames_behind_a_damaged_one_are_given_under_their_positions(tmp_path):
    path = damage_frame(write_video(tmp_path / "v.avi", [picture(64, 64)] * 8), 3)
    sources = Sources(path)
    assert [frame.frame_index for frame in sources] == [0, 1, 2, 4, 5, 6, 7]
    assert sources.faults[0].frames == (7, 8)
    assert sources.skipped == []
    assert sources.missing() == ["incomplete v.avi: 7 of 8 frames could be read; the file is damaged or cut"]


def test_a_video_of_which_the_first_frame_is_damaged_stays_one_video(tmp_path):
    path = damage_frame(write_video(tmp_path / "v.avi", [picture(64, 64)] * 4), 0)
    frames = list(Sources([path, path]))
    joined = [continues(before, frame) for before, frame in zip([None, *frames], frames, strict=False)]
    assert [frame.frame_index for frame in frames] == [1, 2, 3] * 2
    assert joined == [False, True, True] * 2


def test_a_cut_video_says_how_many_frames_there_should_be(tmp_path):
    path = write_video(tmp_path / "v.avi", [picture(64, 64)] * 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    sources = Sources(path)
    count = len(list(sources))
    assert 5 < count < 20
    assert sources.faults[0].frames == (count, 20)


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_a_whole_video_has_no_fault(tmp_path, ending):
    sources = Sources(write_video(tmp_path / f"v{ending}", [picture(64, 64)] * 5, fps=29.97))
    assert len(list(sources)) == 5
    assert sources.missing() == []


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
def test_a_video_whose_name_is_not_unicode_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"v\xb2.mp4")
    write_video(tmp_path / "v.mp4", [picture(64, 64)] * 3).rename(path)
    assert [frame.path for frame in Sources(tmp_path)] == [path] * 3


def test_what_a_folder_holds_beside_pictures_is_counted(folder):
    (folder / "film.xyz").write_bytes(b"x")
    Image.new("L", (8, 8)).save(folder / "pages.tif", save_all=True, append_images=[Image.new("L", (8, 8))] * 2)
    sources = Sources(folder)
    assert len(list(sources)) == 3
    assert dict(sources.passed) == {
        "hidden": 1,
        "in subfolders": 1,
        ".xyz": 1,
        "further pages or frames of a picture": 2,
    }
    assert sources.missing()[0].startswith("passed over: 2 further pages or frames of a picture, ")


@pytest.mark.parametrize("source", [None, 5, object()])
def test_what_is_no_source_is_refused_in_one_line(source):
    with pytest.raises(SourceError, match="a source is a path, glob, URL, numpy array or PIL image"):
        Sources(source)


@pytest.mark.parametrize("source", ["", "x" * 5000, "a\x00b.png", "~nobody-of-this-name/a.png"])
def test_a_name_that_cannot_be_is_refused_in_one_line(source):
    with pytest.raises(SourceError, match=r"does not exist|has no name"):
        Sources(source)
