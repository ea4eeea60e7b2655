"""Everything that can be looked at becomes one stream of RGB frames; what cannot be read says so."""

from __future__ import annotations

import http.server
import threading

import numpy as np
import pytest
from PIL import Image

from ghostyolo.errors import SourceError
from ghostyolo.runtime.sources import Sources
from tests.runtime.colour_model import BLUE, GREEN, RED, picture
from tests.runtime.videos import write_video


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
