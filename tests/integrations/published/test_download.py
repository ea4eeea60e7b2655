"""Published weights by name are fetched once, checked and imported; a local server stands for the makers'."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.errors import OutputError, WeightsError  # noqa: E402
from ghostyolo.files import cache_folder  # noqa: E402
from ghostyolo.integrations.published.download import download  # noqa: E402
from ghostyolo.integrations.published.importer import importable_names  # noqa: E402
from ghostyolo.integrations.published.releases import RELEASES, Release  # noqa: E402
from ghostyolo.models import build_model  # noqa: E402
from ghostyolo.models.weights import load_checkpoint  # noqa: E402
from ghostyolo.runtime.weights import resolve_weights  # noqa: E402
from tests.integrations.published.builders import their_tensors  # noqa: E402

CONTENT = bytes(range(256)) * 4000


class Server(http.server.ThreadingHTTPServer):
    """Serves one content; ``most`` bytes of it in an answer, and parts of it where ``ranges`` says so."""

    content, most, ranges, requests = CONTENT, None, True, None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        content, start = self.server.content, 0
        if self.path.endswith("/missing"):
            return self.send_error(404)
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) if self.server.most is None else start + self.server.most
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[start:end])
        return None

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    made = Server(("127.0.0.1", 0), Handler)
    made.requests = []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def url(server):
    return f"http://127.0.0.1:{server.server_address[1]}/file.pth"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ghostyolo"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_file_with_the_right_checksum_appears_whole(url, tmp_path):
    download(url, tmp_path / "a" / "x", sha256(CONTENT))
    assert (tmp_path / "a" / "x").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


def test_an_interrupted_download_says_so_and_goes_on_where_it_stopped(server, url, tmp_path):
    server.most = 300_000
    with pytest.raises(WeightsError, match=r"stopped at 0\.3 of 1\.0 MB: the same command goes on"):
        download(url, tmp_path / "x", sha256(CONTENT))
    assert not (tmp_path / "x").exists()
    server.most = None
    download(url, tmp_path / "x", sha256(CONTENT))
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


def test_a_server_that_gives_no_parts_gives_the_whole(server, url, tmp_path):
    (tmp_path / "x.part").write_bytes(b"other bytes")
    server.ranges = False
    download(url, tmp_path / "x", sha256(CONTENT))
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_begun_anew(url, tmp_path):
    (tmp_path / "x.part").write_bytes(CONTENT + b"more")
    download(url, tmp_path / "x", sha256(CONTENT))
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_file_with_another_checksum_is_not_kept(url, tmp_path):
    with pytest.raises(WeightsError, match="is not the file that was published: SHA-256"):
        download(url, tmp_path / "x", "0" * 64)
    assert not list(tmp_path.iterdir())


def test_an_unknown_checksum_is_said(url, tmp_path, caplog):
    download(url, tmp_path / "x")
    assert f"it has SHA-256 {sha256(CONTENT)}" in caplog.text


def test_no_network_and_no_file_are_one_line(url, server, tmp_path):
    with pytest.raises(WeightsError, match="the server says 404"):
        download(url.replace("file.pth", "missing"), tmp_path / "x")
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=r"cannot be reached.*give it to ghostyolo import") as caught:
        download(url, tmp_path / "x")
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(url, tmp_path):
    (tmp_path / "x.part").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        download(url, tmp_path / "x")


def test_weights_by_name_are_fetched_once(server, url, cache, monkeypatch, tmp_path):
    torch.manual_seed(0)
    torch.save({"model": their_tensors(build_model("yolox-nano", num_classes=80))}, tmp_path / "x.pth")
    server.content = (tmp_path / "x.pth").read_bytes()
    monkeypatch.setitem(RELEASES, "yolox-nano", Release(url, "Apache-2.0", sha256(server.content)))
    path = resolve_weights("yolox-nano", suffixes=(".safetensors",))
    assert path == cache / "weights" / "yolox-nano.safetensors"
    assert [file.name for file in path.parent.iterdir()] == ["yolox-nano.safetensors"]
    _, metadata = load_checkpoint(path)
    assert metadata.class_names[0] == "person"
    assert metadata.derived_from[0].sha256 == sha256(server.content)
    assert resolve_weights("yolox-nano") == path
    assert len(server.requests) == 1


def test_a_published_file_that_does_not_fit_leaves_nothing(server, url, cache, monkeypatch, tmp_path):
    torch.save({"model": their_tensors(build_model("yolox-nano", num_classes=80))}, tmp_path / "x.pth")
    server.content = (tmp_path / "x.pth").read_bytes()
    monkeypatch.setitem(RELEASES, "yolox-tiny", Release(url, "Apache-2.0"))
    with pytest.raises(WeightsError, match="is no 'yolox-tiny': layer"):
        resolve_weights("yolox-tiny")
    assert not list((cache / "weights").iterdir())


def test_every_release_can_be_imported():
    assert set(RELEASES) <= set(importable_names())
    assert all(release.url.startswith("https://") for release in RELEASES.values())
    assert all(len(release.sha256) in (0, 64) for release in RELEASES.values())


def test_the_cache_is_the_users(cache):
    assert cache_folder() == cache
