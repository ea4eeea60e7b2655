"""Writes what lies in a page's folder beside the network.

The page, its description, ONNX Runtime Web. No torch.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ghostyolo._version import __version__
from ghostyolo.errors import ExportError
from ghostyolo.export.web import DESCRIPTION, NETWORK, SUFFIX
from ghostyolo.export.web.runtime_files import VERSION, unpack_runtime
from ghostyolo.metadata import ModelMetadata
from ghostyolo.runtime.drawing import class_palette
from ghostyolo.thresholds import SELECTION

_PAGE = Path(__file__).with_name("page")
_LOWEST, _HIGHEST = 0.05, 0.95  # of the page's slider


def check_channels(metadata: ModelMetadata) -> None:
    """Refuse a network of other pictures than browsers have.

    Raises:
        ExportError: neither one channel nor three.
    """
    if metadata.in_channels not in (1, 3):
        raise ExportError(
            f"a browser has pictures of 1 or 3 channels, this network takes {metadata.in_channels}: use another format"
        )


def write_page(folder: Path, metadata: ModelMetadata, package: Path, example: Path | None = None) -> None:
    """Add the page to a folder that holds its network (:data:`NETWORK`).

    Args:
        folder: its name, without ``_web``, is the page's title.
        metadata: of the network.
        package: of :func:`ghostyolo.export.web.runtime_files.fetch_runtime`.
        example: a picture that the page offers to look at.
    """
    for file in sorted(_PAGE.iterdir()):
        shutil.copyfile(file, folder / file.name)
    unpack_runtime(package, folder / "onnxruntime")
    if example is not None:
        shutil.copyfile(example, folder / f"example{example.suffix}")
    described = describe(metadata, folder.name.removesuffix(SUFFIX))
    described["example"] = None if example is None else f"example{example.suffix}"
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(metadata: ModelMetadata, name: str) -> dict[str, Any]:
    """What the page must know of a network, as JSON."""
    export, best = metadata.export, metadata.best_confidence
    confidence = SELECTION.confidence if best is None else best.overall
    return {
        "title": name[:1].upper() + name[1:],
        "file": NETWORK,
        "model": metadata.model,
        "version": __version__,
        "runtime": VERSION,
        "class_names": metadata.class_names,
        "colours": [color.as_hex() for color in class_palette().colors],
        "imgsz": metadata.imgsz,
        "stride": metadata.stride,
        "in_channels": metadata.in_channels,
        "resize": metadata.resize,
        "place": metadata.place,
        "nms": metadata.nms,
        "iou": SELECTION.iou,
        "confidence": min(max(confidence, _LOWEST), _HIGHEST),
        "export": {"width": export.width if export else None, "height": export.height if export else None},
        "licences": [origin.line() for origin in metadata.derived_from],
    }
