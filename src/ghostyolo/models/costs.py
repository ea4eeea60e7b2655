"""The counted zoo: what ``describe_model`` counts of each model at 640 px and 80 classes, kept in ``zoo/costs.json``.

Counting builds each network, which takes a minute for all and needs torch. A device can list the zoo without either.
``benchmarks/zoo.py`` writes the file, and tests count again.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

IMGSZ, CLASSES = 640, 80


@cache
def _counted() -> dict[str, dict[str, Any]]:
    text = (resources.files("ghostyolo.models") / "zoo" / "costs.json").read_text(encoding="utf-8")
    return {row["name"]: row for row in json.loads(text)}


def counted_row(name: str, imgsz: int, num_classes: int) -> dict[str, Any] | None:
    """The row of a model of the zoo, or None where it was not counted, or not at this size."""
    if (imgsz, num_classes) != (IMGSZ, CLASSES):
        return None
    row = _counted().get(name)
    return dict(row) if row is not None else None
