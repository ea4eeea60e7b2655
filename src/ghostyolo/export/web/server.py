"""Serves a page's folder to this machine.

With the headers that let the page use threads.
"""

from __future__ import annotations

import http.server
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ghostyolo.errors import OutputError

HOST = "127.0.0.1"
# Browsers share memory between threads only in pages that no other page can reach.
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


class PageServer(http.server.ThreadingHTTPServer):
    """Serves a folder on the loopback device.

    Args:
        folder: with ``index.html``.
        port: 0 takes a free one.
        extra: contents served beside the folder's files, by their path, such as ``"/check.json"``.
        receive: gets what is posted to the server; None: nothing may be posted.
        isolated: send the headers that threads need.

    Attributes:
        url: of the page.

    Raises:
        OutputError: the port is in use.
    """

    daemon_threads = True

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        extra: Mapping[str, bytes] | None = None,
        receive: Callable[[bytes], None] | None = None,
        isolated: bool = True,
    ) -> None:
        self.extra, self.receive = dict(extra or {}), receive
        self.isolation = ISOLATION if isolated else {}
        try:
            super().__init__((HOST, port), partial(_Handler, directory=str(folder)))
        except (OSError, OverflowError) as error:
            reason = "the port is in use" if "in use" in str(error) else (getattr(error, "strerror", None) or error)
            raise OutputError(f"cannot serve on {HOST}:{port}: {reason}; give another --port") from error
        self.url = f"http://{HOST}:{self.server_address[1]}/"

    def start(self) -> None:
        """Serve from a thread; :meth:`stop` ends it."""
        threading.Thread(target=self.serve_forever, name="page server", daemon=True).start()

    def wait(self) -> None:
        """Wait for Ctrl-C."""
        threading.Event().wait()

    def stop(self) -> None:
        """End a server that was started."""
        self.shutdown()
        self.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    extensions_map = {  # noqa: RUF012  the base class declares it so
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        # Said here, since a machine's own table may differ and browsers are strict about these.
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".css": "text/css",
        ".json": "application/json",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        content = self.server.extra.get(path)
        if content is None:
            super().do_GET()
            return
        self._answer(200, content, self.guess_type(path))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.receive is None:
            self._answer(405, b"", "text/plain")
            return
        self.server.receive(content)
        self._answer(204, b"", "text/plain")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        for name, value in self.server.isolation.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""
