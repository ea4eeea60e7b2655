"""The YAML files of detectors that ship with this package. No torch."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "models"


def model_files() -> dict[str, Path]:
    """File names to paths, such as ``"yolo11-ghostnetv3.yaml"``; a scale letter goes after the version number."""
    return {path.name: path for path in sorted(FOLDER.glob("*.yaml"))}
