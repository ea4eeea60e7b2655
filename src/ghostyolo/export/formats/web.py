"""Folders (``x_web``) with a page that runs the detector in browsers.

Any static server can serve them.

``detector.onnx`` is the network as ``--format onnx`` writes it, which is what Python runs of it; the page and ONNX
Runtime Web lie beside it (:mod:`ghostyolo.export.web`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghostyolo.export.formats import ONNX_OPSETS, Elsewhere, ExportFormat, onnx
from ghostyolo.export.web import NETWORK, SUFFIX

if TYPE_CHECKING:
    import supervision

    from ghostyolo.export.deployed import ExportJob
    from ghostyolo.export.parity import Image


def write(job: ExportJob, path: Path) -> None:
    """Write ``path``, see :mod:`ghostyolo.export.formats`."""
    from ghostyolo.export.web.folder import check_channels, write_page
    from ghostyolo.export.web.runtime_files import fetch_runtime

    check_channels(job.metadata)
    package = fetch_runtime()
    path.mkdir()
    onnx.write(job, path / NETWORK)
    write_page(path, job.metadata, package)


def detect_in_browser(path: Path, pictures: Sequence[Image], confidence: float) -> list[supervision.Detections] | str:
    """Detect with the page; see :class:`ghostyolo.export.formats.Elsewhere`."""
    from ghostyolo.export.web.browser import detect_with_page

    return detect_with_page(path, pictures, confidence)


FORMAT = ExportFormat(
    "web",
    SUFFIX,
    "onnxruntime",
    write,
    dynamic=True,
    batches=False,
    outputs=("decoded",),
    opsets=ONNX_OPSETS,
    inner=NETWORK,
    elsewhere=Elsewhere("a browser", detect_in_browser),
)
