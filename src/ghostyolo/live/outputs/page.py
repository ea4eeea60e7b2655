"""A small page with the annotated video, what is on it, counts and figures.

The video is Motion JPEG, which every browser shows without a program of ours; a frame is encoded only while somebody
looks. The page loads nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import cv2

from ghostyolo.errors import ConfigError, OutputError
from ghostyolo.extras import require
from ghostyolo.live.outputs.output import Output
from ghostyolo.live.prediction import LivePrediction

_JPEG_QUALITY = 80
_LONGEST_SIDE = 1280
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BOUNDARY = "frame"


class Page(Output):
    """Serves the page from a thread of its own.

    Args:
        address: ``HOST:PORT`` or ``PORT``; without a host only this machine can see it.
        names: of the sources.
        figures: gives the figures as JSON.

    Attributes:
        url: where it can be seen.

    Raises:
        MissingExtraError: Starlette or uvicorn is not installed.
        ConfigError: an address of another form.
        OutputError: the port is in use, or the host is not of this machine.
    """

    label = "page"

    def __init__(self, address: str, names: list[str], figures: Callable[[], dict[str, Any]]) -> None:
        require("serve", "--serve")
        super().__init__()
        self._names, self._figures = names, figures
        self._latest: dict[int, LivePrediction] = {}
        self._jpegs: dict[int, tuple[LivePrediction, bytes]] = {}
        self._encoding = threading.Lock()
        host, port = split_address(address)
        self._socket = _bound(host, port)
        port = self._socket.getsockname()[1]
        self.is_public = host not in _LOOPBACK
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        self._server = self._make_server()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="page server", daemon=True
        )
        self._thread.start()

    def write(self, prediction: LivePrediction) -> None:
        """Keep the frame as its source's newest."""
        self._latest[prediction.source] = prediction

    def finish(self) -> None:
        """Stop the server."""
        self._server.should_exit = True
        self._thread.join(3)
        self._socket.close()

    def state(self) -> dict[str, Any]:
        """What the page shows beside the video."""
        sources = []
        for index, name in enumerate(self._names):
            prediction = self._latest.get(index)
            found = Counter(map(str, prediction.detections.data["class_name"])) if prediction else Counter()
            counts = [count.to_dict() for count in prediction.counted] if prediction else []
            sources.append({"name": name, "now": dict(found.most_common()), "counts": counts})
        return {"sources": sources, "figures": self._figures()}

    def _make_server(self) -> Any:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
        from starlette.routing import Route

        page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

        async def index(request: Any) -> Response:
            return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})

        async def state(request: Any) -> Response:
            return JSONResponse(self.state(), headers={"Cache-Control": "no-store"})

        async def video(request: Any) -> Response:
            number = request.path_params["number"]
            if number >= len(self._names):
                return Response(status_code=404)
            kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
            return StreamingResponse(self._parts(number), media_type=kind, headers={"Cache-Control": "no-store"})

        routes = [Route("/", index), Route("/state.json", state), Route("/video/{number:int}.mjpg", video)]
        # A foreign page must not reach this one under a name of its own (DNS rebinding).
        hosts = ["*"] if self.is_public else ["127.0.0.1", "localhost", "[::1]"]
        application = Starlette(
            routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)]
        )
        config = uvicorn.Config(application, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        return uvicorn.Server(config)

    async def _parts(self, number: int) -> AsyncIterator[bytes]:
        # The boundary follows each picture at once: browsers show a part when they see where it ends.
        yield f"--{_BOUNDARY}\r\n".encode()
        sent: LivePrediction | None = None
        while not self._server.should_exit:
            latest = self._latest.get(number)
            if latest is None or latest is sent:
                await asyncio.sleep(0.02)
                continue
            data = await asyncio.to_thread(self._jpeg, number, latest)
            sent = latest
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            yield head.encode() + data + f"\r\n--{_BOUNDARY}\r\n".encode()

    def _jpeg(self, number: int, prediction: LivePrediction) -> bytes:
        with self._encoding:  # once for all who look
            held = self._jpegs.get(number)
            if held is not None and held[0] is prediction:
                return held[1]
            image = prediction.drawn()
            scale = _LONGEST_SIDE / max(image.shape[:2])
            if scale < 1:
                image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self._jpegs[number] = (prediction, data.tobytes())
            return self._jpegs[number][1]


_POLICY = "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def split_address(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; a port alone is of this machine only.

    Raises:
        ConfigError: a text of another form.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"serve is '{address}': write HOST:PORT, such as 127.0.0.1:8000")
    return host.strip("[]") or "127.0.0.1", int(port)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        reason = "the port is in use" if "in use" in str(error) else (error.strerror or str(error))
        raise OutputError(f"cannot serve on {host}:{port}: {reason}; give another --serve HOST:PORT") from error
    return bound
