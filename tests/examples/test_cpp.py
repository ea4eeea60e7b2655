"""The C++ example compiles against ONNX Runtime and finds what Python finds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra to export")

import ghostyolo
from ghostyolo.data.images import read_image
from ghostyolo.runtime.weights import assets_folder

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp"
HEADER = "onnxruntime_cxx_api.h"


def include_folder() -> Path:
    """Where the C++ headers of ONNX Runtime are; its Python package has the library but not them."""
    for folder in (os.environ.get("ONNXRUNTIME_INCLUDE"), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"):
        if folder and (Path(folder) / HEADER).is_file():
            return Path(folder)
    pytest.skip(f"{HEADER} not found: set ONNXRUNTIME_INCLUDE to the folder that holds it (libonnxruntime-dev)")


def shared_library() -> Path:
    import onnxruntime

    return next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    build = tmp_path_factory.mktemp("build")
    (build / "libonnxruntime.so.1").symlink_to(shared_library())  # the name that the loader asks for
    options = [f"-DONNXRUNTIME_INCLUDE={include_folder()}", f"-DONNXRUNTIME_LIBRARY={shared_library()}"]
    for command in (["cmake", "-S", SOURCE, "-B", build, *options], ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr
    return build / "detect"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return ghostyolo.Detector("digits").export(out=tmp_path_factory.mktemp("model") / "m.onnx", dynamic=False)


def run(program, *arguments) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(program.parent)}
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env=environment)


def test_same_boxes_as_python(tmp_path, program, model):
    predictor = ghostyolo.load(model)
    total = 0
    for path in sorted((assets_folder() / "pictures").glob("*.jpg")):
        image = read_image(path)
        (expected,) = predictor.detect([image])
        cv2.imwrite(str(tmp_path / "p.ppm"), image[:, :, ::-1])
        done = run(program, model, tmp_path / "p.ppm")
        assert done.returncode == 0, done.stderr
        rows = np.array([line.split() for line in done.stdout.splitlines()], dtype=float).reshape(-1, 6)
        assert len(rows) == len(expected)
        total += len(rows)
        for label, score, *box in rows:
            nearest = np.abs(expected.xyxy - box).max(1).argmin()
            # OpenCV resizes in fixed point: a grey level apart here and there.
            assert np.abs(expected.xyxy[nearest] - box).max() < 0.5
            assert abs(expected.confidence[nearest] - score) < 0.01
            assert expected.class_id[nearest] == label
    assert total > 10


def test_what_is_wrong_is_one_line(tmp_path, program, model):
    (tmp_path / "p.ppm").write_bytes(b"P6\n4 4\n255\n12")
    for arguments, message in (
        ((model, tmp_path / "p.ppm"), "is cut short"),
        ((model, tmp_path / "none.ppm"), "is not an 8-bit binary PPM"),
        ((assets_folder() / "digits.onnx", tmp_path / "p.ppm"), "has no fixed size: export it with --static"),
        ((model,), "usage:"),
    ):
        done = run(program, *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
