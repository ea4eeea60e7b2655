"""1,000 damaged pictures, videos, answers and weights: one line, all that is sound is read, and the numbers add up.

Each is made from a seed. An exception that is not ours, a file that is neither read nor reported, or a test that takes
too long is a failure. Slow tier: ``pytest -m slow tests/fuzz``.
"""

from __future__ import annotations

import io
import json
import random
import socketserver
import threading

import numpy as np
import pytest
from PIL import Image

import ghostyolo
from ghostyolo.errors import GhostYoloError, SourceError, WeightsError
from ghostyolo.runtime.predictor import load
from ghostyolo.runtime.sources import Sources
from ghostyolo.runtime.writers import ResultWriter
from tests.fuzz.mutations import damage
from tests.runtime.colour_model import MODEL_PATH, picture
from tests.runtime.videos import write_video

pytestmark = pytest.mark.slow

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif", "WEBP": ".webp", "PPM": ".ppm",
           "TGA": ".tga", "JPEG2000": ".jp2", "AVIF": ".avif"}  # fmt: skip
NAMES = ("a", "ä", "图", "a b", "x" * 240, "#%20", "'", "é", "emoji😀", ".hidden", "-o", "a.b.c")


def is_one_line(error):
    return "\n" not in str(error) and str(error).strip()


def picture_bytes(rng):
    """A small picture of any format and mode, and the ending of its name."""
    if rng.random() < 0.08:
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((8, 9, rng.choice((1, 3, 5))), rng.choice((np.uint8, np.uint16, np.float32))))
        return buffer.getvalue(), ".npy"
    name = rng.choice(
        [name for name in FORMATS if name in Image.SAVE or FORMATS[name] in Image.registered_extensions()]
    )
    mode = rng.choice({"PNG": ("RGB", "L", "RGBA", "P", "1", "I;16"), "JPEG": ("RGB", "L", "CMYK")}.get(name, ("RGB",)))
    image = Image.fromarray(np.frombuffer(rng.randbytes(40 * 30 * 3), np.uint8).reshape(30, 40, 3))
    image = Image.new(mode, (40, 30)) if mode == "I;16" else image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, name)
    return buffer.getvalue(), FORMATS[name]


@pytest.mark.parametrize("seed", range(20))
def test_damaged_pictures(tmp_path, seed):
    rng = random.Random(seed)
    folder = tmp_path / "in"
    folder.mkdir()
    sound, count = set(), 20
    for number in range(count):
        data, suffix = picture_bytes(rng)
        path = folder / f"{number}{rng.choice(NAMES)}{rng.choice((suffix, suffix.upper()))}"
        whole = rng.random() < 0.3 and suffix != ".npy"
        path.write_bytes(data if whole else damage(data, rng))
        sound |= {path.name} if whole else set()
    (folder / "sound.png").write_bytes(picture_bytes(random.Random(0))[0])
    predictor = load(MODEL_PATH, threads=1)
    sources = predictor.open_sources(folder)
    with ResultWriter(tmp_path / "out", json=True, csv=True, txt=True, sources=sources.paths) as writer:
        for prediction in predictor.predict(sources, batch=3, imgsz=64):
            writer.write(prediction)
        writer.write_faults(sources.faults)
    records = json.loads((tmp_path / "out" / "detections.json").read_text("utf-8"))
    read = {record["image"] for record in records if "error" not in record}
    assert len(records) == len(sources) == count + 1
    assert {str(folder / name) for name in sound} <= read
    assert all(is_one_line(fault.reason) for fault in sources.faults)
    assert len(list((tmp_path / "out").glob("*.*g"))) == len(read)
    assert len(list((tmp_path / "out" / "yolo").iterdir())) == len(read)


@pytest.mark.parametrize("seed", range(120))
def test_damaged_videos(tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / f"v{rng.choice(('.avi', '.mp4'))}"
    write_video(path, [picture(64, 48, (number % 2, 1, number % 3)) for number in range(12)])
    path.write_bytes(damage(path.read_bytes(), rng))
    sources = Sources(path)
    frames = []
    try:
        frames = [frame.frame_index for frame in sources]
    except SourceError as error:
        assert is_one_line(error)
        assert not frames
        return
    assert frames == sorted(set(frames))
    for fault in sources.faults:
        assert fault.frames is not None
        assert fault.frames[0] == len(frames) < fault.frames[1]
    if len(frames) < 12 and not sources.faults:
        # Where the header itself says fewer, nobody can know: then the positions have no gap.
        assert frames == list(range(len(frames)))


class _Answers(socketserver.BaseRequestHandler):
    answer = b""

    def handle(self):
        try:
            self.request.recv(65536)
            self.request.sendall(self.answer)
        except OSError:
            pass


def test_damaged_answers_and_addresses():
    body = picture_bytes(random.Random(5))[0]
    length = str(len(body)).encode()
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + body,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
        b"HTTP/1.0 301 Moved\r\nLocation: /b.png\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    ]
    letters = "abc/ %?#&=é图😀\\\"'<>[]{}|^`:@;,+~\t\x00\x7f\u2028.-_0"
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for seed in range(300):
            rng = random.Random(seed)
            _Answers.answer = damage(answers[seed % 4], rng) if seed % 3 else answers[0]
            place = "".join(rng.choices(letters, k=rng.randrange(30)))
            start = rng.choice(("http://", "HTTP://", "Http://"))
            address = f"{start}127.0.0.1:{server.server_address[1]}/{place}{rng.choice(('', '.png', '.mp4'))}"
            sources = Sources([address, picture(32, 32)])
            names = [frame.name for frame in sources]
            assert len(names) + len(sources.faults) == 2, address
            assert names[-1] == "image-1"
            assert all(is_one_line(fault.reason) for fault in sources.faults)
        server.shutdown()


def test_damaged_weights(tmp_path):
    """A file opens and answers, or is refused in one line; a wrong answer is no crash."""
    path, whole = tmp_path / "w.onnx", MODEL_PATH.read_bytes()
    opened = 0
    for seed in range(250):
        path.write_bytes(damage(whole, random.Random(seed)))
        try:
            ghostyolo.load(path, threads=1).detect([picture(64, 64)], imgsz=64)
            opened += 1
        except GhostYoloError as error:
            assert is_one_line(error), seed
    assert 0 < opened < 250


def random_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 6:
        return (
            None,
            True,
            rng.randrange(-2, 700),
            rng.random() * 100,
            "",
            rng.choice(("cat", "[1, 2", "{0: 'a'}", "32", "x")),
        )[kind]
    if kind == 6:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(("a", "0", "names", "type")): random_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def test_damaged_metadata_of_ours_and_of_others(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(MODEL_PATH)
    known = json.loads(model.metadata_props[0].value)
    path = tmp_path / "w.onnx"
    for seed in range(150):
        rng = random.Random(seed)
        if seed % 2:
            properties = {"ghostyolo": json.dumps({**known, rng.choice(list(known)): random_value(rng)})}
        else:
            keys = rng.sample(("names", "stride", "imgsz", "task", "description"), rng.randrange(1, 5))
            properties = {key: str(random_value(rng)) for key in keys}
        onnx.helper.set_model_props(model, properties)
        onnx.save(model, path)
        try:
            ghostyolo.load(path, threads=1).detect([picture(64, 64)])
        except GhostYoloError as error:
            assert is_one_line(error), seed


def test_random_outputs_of_other_programs(tmp_path):
    from tests.runtime.test_foreign_onnx import write

    path = tmp_path / "w.onnx"
    for seed in range(150):
        rng = random.Random(seed)
        numbers = np.random.default_rng(seed)
        outputs = {}
        for name in rng.sample(("output0", "boxes", "scores", "logits", "labels"), rng.choice((1, 1, 1, 2, 3))):
            shape = [rng.choice((1, 1, 2)), rng.choice((4, 6, 7, 84, 252, 300)), rng.choice((4, 6, 7, 84, 252, 300))]
            values = numbers.normal(0, rng.choice((0.1, 1, 50)), shape[rng.choice((0, 0, 0, 1)) :])
            outputs[name] = np.where(numbers.random(values.shape) < rng.choice((0, 0, 0.01)), np.nan, values)
        properties = rng.choice(({}, {"names": "['a', 'b', 'c']"}, {"names": "['a']", "task": "pose"}))
        write(path, properties, number=rng.choice(("float", "uint8")), channels_last=rng.random() < 0.2, **outputs)
        try:
            ghostyolo.load(path, threads=1).detect([picture(64, 64)])
        except (WeightsError, SourceError) as error:
            assert is_one_line(error), seed
