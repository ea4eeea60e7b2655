"""The C++ example's letterbox gives the pixels that Python's gives, in both kinds of shrinking."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ghostyolo.data.letterbox import network_input, plan_letterbox

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp"
PROGRAM = """
#include <cstdio>
#include <cstdlib>
#include "detection.hpp"
int main(int, char** a) {
  Image picture;
  picture.width = atoi(a[1]);
  picture.height = atoi(a[2]);
  picture.rgb.resize(3u * picture.width * picture.height);
  if (std::fread(picture.rgb.data(), 1, picture.rgb.size(), stdin) != picture.rgb.size()) return 1;
  Letterbox where;
  const auto canvas = to_canvas(picture, 64, 64, a[3][0] == 'a', where);
  std::fwrite(canvas.data(), sizeof(float), canvas.size(), stdout);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    folder = tmp_path_factory.mktemp("letterbox")
    (folder / "main.cpp").write_text(PROGRAM)
    sources = [folder / "main.cpp", SOURCE / "letterbox.cpp"]
    command = ["c++", "-std=c++17", "-Wall", "-Wextra", "-I", SOURCE, *sources, "-o", folder / "letterbox"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return folder / "letterbox"


@pytest.mark.parametrize("resize", ["area", "bilinear"])
@pytest.mark.parametrize(("width", "height"), [(150, 97), (128, 128), (301, 64), (64, 64), (20, 33), (1, 1)])
def test_pixels_are_those_of_python(program, resize, width, height):
    image = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    done = subprocess.run([program, str(width), str(height), resize], input=image.tobytes(), capture_output=True)
    canvas = np.frombuffer(done.stdout, np.float32).reshape(3, 64, 64)
    expected = network_input([image], [plan_letterbox(width, height, 64, resize=resize)])[0]
    assert np.abs(canvas - expected).max() <= 1.01 / 255  # OpenCV counts in fixed point
