"""Runs ``.onnx`` files on ONNX Runtime, without torch: ours, and those of other programs whose layout is known.

Input ``images`` (B, C, H, W); the metadata, which says what the outputs are, is in ``metadata_props["ghostyolo"]``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engine import parse_device
from ghostyolo.runtime.exported import Array, ExportedEngine
from ghostyolo.runtime.foreign import Foreign, Port, recognise

log = logging.getLogger(__name__)

_ERRORS_ONLY = 3


class OnnxEngine(ExportedEngine):
    """A network in ONNX Runtime.

    Args:
        path: a file that ``ghostyolo export`` wrote, or a detector of another program.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` (needs the onnxruntime-gpu package).
        threads: CPU threads inside one call; None: one for each physical core.
        layout: of the outputs of another program's file, where it is not to be found out.

    Raises:
        WeightsError: truncated, not ONNX, or no detector of a known layout.
        ConfigError: the device is unknown or this install of ONNX Runtime cannot use it.
    """

    name = "onnxruntime"

    def __init__(
        self, path: str | Path, device: str = "cpu", threads: int | None = None, layout: str | None = None
    ) -> None:
        import onnxruntime

        self.path = Path(path)
        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        providers = _providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        try:
            # Its fallback would print, and try the same again.
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=providers, enable_fallback=0
            )
            header = self._session.get_modelmeta().custom_metadata_map  # fails where it is no text
        except Exception as error:  # ONNX Runtime's own errors share no base class but this
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            raise WeightsError(
                f"{path} cannot be opened: truncated, damaged or not an ONNX file; export or fetch it again ({reason})"
            ) from error
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if wanted not in self._session.get_providers():
            raise ConfigError(
                f"device {device} could not be started (CUDA libraries that do not fit onnxruntime-gpu?): "
                "use --device cpu"
            )
        self._input = self._session.get_inputs()[0].name
        self._half = self._session.get_inputs()[0].type == "tensor(float16)"
        self._foreign: Foreign | None = None
        if METADATA_KEY in header:
            if layout is not None:
                raise ConfigError(
                    f"{path} was written by ghostyolo and says itself how it answers: leave out the layout"
                )
            self.metadata = ModelMetadata.from_json(header[METADATA_KEY], str(path))
            names = {node.name for node in (*self._session.get_inputs(), *self._session.get_outputs())}
            missing = {"images", *self.export.outputs} - names
            if missing:
                raise WeightsError(f"{path} has no input or output named {', '.join(sorted(missing))}: export it again")
        else:
            inputs = {node.name: _port(node) for node in self._session.get_inputs()}
            answers = [node.name for node in self._session.get_outputs()]
            self._foreign = recognise(
                str(path),
                inputs,
                lambda images: dict(zip(answers, self._session.run(answers, {self._input: images}), strict=True)),
                header,
                layout,
            )
            self.metadata = self._foreign.metadata
            log.warning(
                "%s was not written by ghostyolo: read as a detector with the layout '%s' and %d classes%s",
                path,
                self._foreign.layout.name,
                len(self.metadata.class_names),
                "" if self._foreign.task == "detect" else f"; of its task '{self._foreign.task}' only the boxes",
            )

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        if self._foreign is not None:
            feed = self._foreign.feed(images)
        else:
            feed = images.astype(np.float16) if self._half else images
        return self._session.run(self.export.outputs, {self._input: feed})

    def _interpret(self, outputs: dict[str, Array], batch: int, canvas: tuple[int, int]) -> tuple[Array, Array]:
        if self._foreign is not None:
            return self._foreign.interpret(outputs, batch, canvas)
        return super()._interpret(outputs, batch, canvas)


def _port(node: Any) -> Port:
    """An input as the foreign reader wants it: free sizes None, ``tensor(float)`` as ``float``."""
    return Port([size if isinstance(size, int) else None for size in node.shape], node.type[len("tensor(") : -1])


def _providers(device: str, available: list[str]) -> list[Any]:
    kind, number = parse_device(device)
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise ConfigError(
            f"device {device} needs ONNX Runtime for CUDA: pip uninstall onnxruntime && pip install onnxruntime-gpu"
        )
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
