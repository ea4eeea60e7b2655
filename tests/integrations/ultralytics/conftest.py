"""The ultralytics package with our layers, for the tests of this folder; they are skipped where it is absent."""

from __future__ import annotations

import os

import pytest

from ghostyolo.integrations.ultralytics import register, unregister
from tests.integrations.ultralytics.builders import QUIET, write_squares

TRAINED = ["yolo11n-ghostnetv3.yaml", "yolov13n-ghostnetv3-psa.yaml", "yolo26n-ghostnetv3.yaml"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The package as it is, with settings and results in folders of the tests."""
    settings = str(tmp_path_factory.mktemp("settings"))
    os.environ.update(YOLO_CONFIG_DIR=settings, YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")
    reason = 'the ultralytics package is absent: pip install "ghostyolo[ultralytics]"'
    module = pytest.importorskip("ultralytics", reason=reason)
    module.settings.update(runs_dir=str(tmp_path_factory.mktemp("runs")))
    return module


@pytest.fixture
def package(installed):
    """The package with our layers registered."""
    register()
    yield installed
    unregister()


@pytest.fixture
def tasks(package):
    """The package's module that holds the parser."""
    from ultralytics.nn import tasks

    return tasks


@pytest.fixture(scope="session", params=TRAINED)
def trained(request, installed, tmp_path_factory):
    """Weights of one epoch on eight pictures, and the data."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_squares(folder / "data")
    register()
    detector = installed.YOLO(request.param)
    detector.train(data=str(data), epochs=1, imgsz=64, batch=4, project=str(folder), name="run", amp=False, **QUIET)
    return folder / "run" / "weights" / "best.pt", data
