"""How live a watch is: age at output, frames a second, cost outside the network, return of a stream, memory.

    python benchmarks/live.py --seconds 20 --parts age file reconnect memory

Streams are Motion JPEG of 720p at 30 frames a second from a server process on the same machine, which takes its share
of the cores. The network is the built-in `digits` at a small and at its own size, so that it is faster and slower than
the streams. `file` looks at every frame of a 720p video beside Ultralytics' `predict(stream=True)` on the same ONNX
file (Ultralytics' own export of YOLO11-n, untrained), where the `ultralytics` extra is installed. Ages end when the
boxes are known. On a machine that does other things too only the ratios mean something.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

import ghostyolo
from ghostyolo.live.figures import memory_mb
from report import RESULTS, Row, markdown, read_rows, replace_row, write_results

WIDTH, HEIGHT, FPS = 1280, 720, 30
PARTS = ("age", "file", "reconnect", "memory")


def pictures(count: int = 60) -> list[np.ndarray]:
    """Frames of a textured picture that moves: (720, 1280, 3) uint8 RGB."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 255, (90, 160, 3), np.uint8), (WIDTH, HEIGHT))
    return [np.roll(texture, 8 * number, axis=1) for number in range(count)]


def serve(port: int) -> None:
    """Serve one endless Motion JPEG stream to each that connects."""
    jpegs = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes() for frame in pictures(30)]
    with socket.create_server(("127.0.0.1", port), reuse_port=True) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_send, args=(connection, jpegs), daemon=True).start()


def _send(connection: socket.socket, jpegs: list[bytes]) -> None:
    try:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n")
        start, number = time.monotonic(), 0
        while True:
            jpeg = jpegs[number % len(jpegs)]
            head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            connection.sendall(head.encode() + jpeg + b"\r\n")
            number += 1
            time.sleep(max(0.0, start + number / FPS - time.monotonic()))
    except OSError:
        pass


class Server:
    """The server as a process of its own."""

    def __init__(self, port: int | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = port or probe.getsockname()[1]
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(self.port,), daemon=True)
        self._process.start()
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def age(seconds: float, sizes: list[int]) -> list[Row]:
    """Age and rates of 1 and 4 streams, with the network at several sizes."""
    rows = []
    server = Server()
    for imgsz in sizes:
        for streams in (1, 4):
            watch = ghostyolo.watch([server.url] * streams, "digits", imgsz=imgsz)
            threading.Timer(seconds, watch.stop).start()
            values = watch.run().to_json()
            busy = values["network_p50_ms"] * values["inferred"] / 1000 / values["seconds"]
            rows.append(
                {"what": f"{streams} x 720p30, network at {imgsz} px", "seconds": values["seconds"]}
                | {key: values[key] for key in ("read_a_second", "inferred_a_second", "age_p50_ms", "age_p95_ms")}
                | {"network_p50_ms": values["network_p50_ms"], "outside_network": round(1 - busy, 3)}
            )
    server.stop()
    return rows


def file(frames: int) -> list[Row]:
    """Frames a second of a file, each frame looked at: a plain loop, ours, Ultralytics'."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        moving = pictures()
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number in range(frames):
                picture = moving[number % len(moving)]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        weights, theirs = _peer(Path(folder), moving[0])
        predictor = ghostyolo.load(weights)

        def plain() -> int:
            return sum(1 for _ in predictor.predict(path))

        def ours() -> int:
            return int(ghostyolo.watch(path, predictor, every_frame=True).run().to_json()["inferred"])

        programs = {"ghostyolo predict": plain, "ghostyolo watch --every-frame": ours}
        if theirs is not None:
            programs["ultralytics predict(stream=True)"] = lambda: sum(
                1 for _ in theirs.predict(str(path), stream=True, imgsz=640, device="cpu", verbose=False)
            )
        rates: dict[str, list[float]] = {name: [] for name in programs}
        for turn in range(3):
            for name, program in programs.items():
                start = time.perf_counter()
                count = program()
                if turn:  # the first loads libraries
                    rates[name].append(count / (time.perf_counter() - start))
        rows += [{"what": name, "frames_a_second": round(float(np.median(rate)), 2)} for name, rate in rates.items()]
    return rows


def _peer(folder: Path, picture: np.ndarray) -> tuple[str | Path, Any]:
    try:
        import ultralytics

        from overhead import export_peer
    except ImportError:
        print("ultralytics is not installed: the file is read by ours alone")
        return "digits", None
    os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    image = folder / "frame.png"
    cv2.imwrite(str(image), picture)
    here = Path.cwd()
    weights = export_peer(folder, image, 640)
    os.chdir(here)
    return weights, ultralytics.YOLO(str(weights), task="detect")


def reconnect(repeats: int) -> list[Row]:
    """Seconds from the return of a stream to its next result."""
    server = Server()
    results: list[float] = []
    watch = ghostyolo.watch(server.url, "digits", imgsz=96, callback=lambda one: results.append(time.monotonic()))
    worker = threading.Thread(target=watch.run)
    worker.start()
    back = []
    for _ in range(repeats):
        while not results:
            time.sleep(0.01)
        server.stop()
        time.sleep(2.0)
        results.clear()
        server = Server(server.port)
        start = time.monotonic()
        while not results:
            time.sleep(0.01)
        back.append(results[0] - start)
    watch.stop()
    worker.join()
    server.stop()
    return [
        {"what": "stream away for 2 s, back", "seconds": round(float(np.median(back)), 2), "most": round(max(back), 2)}
    ]


def memory(frames: int) -> list[Row]:
    """Memory after each tenth of many frames of a file, with tracks where the package is installed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.mp4"
        moving = [cv2.resize(picture, (160, 96)) for picture in pictures()]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            for number in range(frames):
                picture = moving[number % len(moving)]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        held = []
        watch = ghostyolo.watch(
            path,
            "digits",
            imgsz=96,
            confidence=0.05,
            every_frame=True,
            video=f"{folder}/out.mp4",
            csv=f"{folder}/out.csv",
        )
        for number, _ in enumerate(watch, 1):
            if number % (frames // 10) == 0:
                held.append(memory_mb())
    return [{"what": f"MB after each tenth of {frames} frames, with video and CSV", "megabytes": held}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=60, help="of each row of `age`")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 320], help="of the network, for `age`")
    parser.add_argument("--frames", type=int, default=600, help="of `file`")
    parser.add_argument("--repeats", type=int, default=5, help="of `reconnect`")
    parser.add_argument("--memory-frames", type=int, default=108_000, help="of `memory`: an hour at 30 a second")
    parser.add_argument("--results", type=Path, default=RESULTS / "live.json")
    args = parser.parse_args()

    measures = {
        "age": lambda: age(args.seconds, args.sizes),
        "file": lambda: file(args.frames),
        "reconnect": lambda: reconnect(args.repeats),
        "memory": lambda: memory(args.memory_frames),
    }
    rows = read_rows(args.results)
    for part in args.parts:
        load = round(os.getloadavg()[0], 1)  # what else the machine does
        for row in measures[part]():
            rows = replace_row(rows, {"part": part, "load": load, **row}, ("part", "what"))
        write_results(
            args.results, rows, "av", "onnxruntime", "opencv-python-headless", "ultralytics-opencv-headless",
            cores=os.cpu_count(),
        )  # fmt: skip
    columns = {
        "what": "", "read_a_second": ".1f", "inferred_a_second": ".1f", "age_p50_ms": ".0f", "age_p95_ms": ".0f",
        "network_p50_ms": ".1f", "outside_network": ".0%", "frames_a_second": ".1f", "seconds": ".2f",
    }  # fmt: skip
    print(markdown(rows, columns))
    for row in rows:
        if "megabytes" in row:
            print(row["what"], row["megabytes"])


if __name__ == "__main__":
    main()
