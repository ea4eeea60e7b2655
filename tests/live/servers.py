"""Servers of live video on this machine, which a test starts, cuts and starts again."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import socket
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tests.runtime.colour_model import BLUE, RED, picture

FPS = 20
WIDTH, HEIGHT = 128, 96


def frame_at(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture with a red cell, and a blue one in every second."""
    return picture(width, height, (0, 0, RED), *([(2, 1, BLUE)] if number % FPS < FPS // 2 else []))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """Something that listens on a port, and can be cut."""

    def __init__(self, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.stopped = threading.Event()
        self.frozen = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Cut all connections and listen no more."""
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._guarded, args=(connection,), daemon=True).start()

    def _guarded(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, av.error.FFmpegError):
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        """Answer on one connection."""
        raise NotImplementedError

    def frames(self):
        """Pictures at their rate, until the server is stopped; none while it is frozen."""
        number, start = 0, time.monotonic()
        while not self.stopped.is_set():
            if not self.frozen.is_set():
                yield frame_at(number)
            number += 1
            time.sleep(max(0.0, start + number / FPS - time.monotonic()))


class MjpegServer(Server):
    """Motion JPEG over HTTP, as network cameras have it."""

    @property
    def url(self) -> str:
        return f"http://admin:geheim@127.0.0.1:{self.port}/video?password=geheim"

    def serve(self, connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n"
        )
        for image in self.frames():
            jpeg = cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes()
            head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            connection.sendall(head.encode() + jpeg + b"\r\n")


class _RtpPackets:
    """A file for FFmpeg's RTP writer, each write to which is a packet."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        channel = 1 if 200 <= data[1] <= 204 else 0  # RTCP goes beside
        self._connection.sendall(b"$" + bytes([channel]) + len(data).to_bytes(2, "big") + bytes(data))
        return len(data)


class RtspServer(Server):
    """H.264 over RTSP, interleaved in its TCP connection, with a login."""

    password = "geheim"

    @property
    def url(self) -> str:
        return f"rtsp://admin:{self.password}@127.0.0.1:{self.port}/live"

    def serve(self, connection: socket.socket) -> None:
        wanted = "Basic " + base64.b64encode(b"admin:geheim").decode()
        for request in iter(functools.partial(self._request, connection), None):
            method, headers = request
            answer = {"CSeq": headers.get("cseq", "0"), "Session": "1"}
            body, status = b"", "200 OK"
            if headers.get("authorization") != wanted and method != "OPTIONS":
                status, answer["WWW-Authenticate"] = "401 Unauthorized", 'Basic realm="test"'
            elif method == "OPTIONS":
                answer["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
            elif method == "DESCRIBE":
                answer["Content-Type"] = "application/sdp"
                body = (
                    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                    b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
                    b"a=control:track0\r\n"
                )
            elif method == "SETUP":
                answer["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
            answer["Content-Length"] = str(len(body))
            head = "".join(f"{key}: {value}\r\n" for key, value in answer.items())
            connection.sendall(f"RTSP/1.0 {status}\r\n{head}\r\n".encode() + body)
            if method == "PLAY" and status.startswith("200"):
                self._send(connection)

    def _request(self, connection: socket.socket) -> tuple[str, dict[str, str]] | None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(4096)
            if not more:
                return None
            data += more
        lines = data.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        return lines[0].split(" ")[0], {key.lower(): value for key, value in headers.items()}

    def _send(self, connection: socket.socket) -> None:
        container = av.open(_RtpPackets(connection), "w", format="rtp", options={"packetsize": "1200"})
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = FPS // 2
        start = time.monotonic()
        for image in self.frames():
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int((time.monotonic() - start) * 90000), Fraction(1, 90000)
            for packet in stream.encode(frame):
                container.mux(packet)


class HlsServer:
    """HLS: segments that are written all the time, and Python's own HTTP server."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._stopped = threading.Event()
        handler = functools.partial(_Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, daemon=True),
            threading.Thread(target=self._write, args=(folder,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        while not (folder / "live.m3u8").exists():
            time.sleep(0.05)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/live.m3u8"

    def __enter__(self):
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Serve no more."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._threads[1].join(5)

    def _write(self, folder: Path) -> None:
        options = {"hls_time": "0.5", "hls_list_size": "4", "hls_flags": "delete_segments+omit_endlist"}
        container = av.open(str(folder / "live.m3u8"), "w", format="hls", options=options)
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = FPS // 2
        number, start = 0, time.monotonic()
        while not self._stopped.is_set():
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame_at(number), format="rgb24")):
                container.mux(packet)
            number += 1
            time.sleep(max(0.0, start + number / FPS - time.monotonic()))
        container.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Say nothing."""
