"""The page's server: headers that allow threads, this machine alone, a clear line for a port in use."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from ghostyolo.errors import OutputError
from ghostyolo.export.web.server import PageServer


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "index.html").write_text("hello")
    (tmp_path / "a.mjs").write_text("")
    (tmp_path / "a.wasm").write_bytes(b"")
    return tmp_path


@pytest.fixture
def server(folder):
    server = PageServer(folder, extra={"/made.json": b"{}"})
    server.start()
    yield server
    server.stop()


def test_headers_isolate_the_page_so_that_it_may_use_threads(server):
    for name in ("", "a.wasm", "made.json"):
        headers = urllib.request.urlopen(server.url + name).headers
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_types_are_those_that_browsers_insist_on(server):
    kinds = {"a.mjs": "text/javascript", "a.wasm": "application/wasm", "made.json": "application/json"}
    for name, kind in kinds.items():
        assert urllib.request.urlopen(server.url + name).headers["Content-Type"] == kind


def test_a_port_in_use_is_one_line(server, folder):
    with pytest.raises(OutputError, match="port is in use; give another --port"):
        PageServer(folder, server.server_address[1])


def test_only_this_machine_is_served_and_nothing_is_taken(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(server.url, data=b"x")
