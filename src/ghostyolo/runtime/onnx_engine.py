"""Runs our ``.onnx`` files on ONNX Runtime, without torch.

Input ``images`` (B, C, H, W); outputs ``boxes`` (B, A, 4) and ``scores`` (B, A, classes); batch, height and
width are dynamic. The metadata is in ``metadata_props["ghostyolo"]``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.metadata import METADATA_KEY, ModelMetadata
from ghostyolo.runtime.engine import parse_device

_ERRORS_ONLY = 3


class OnnxEngine:
    """A network in ONNX Runtime.

    Args:
        path: a file that ``ghostyolo export`` wrote.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` (needs the onnxruntime-gpu package).
        threads: CPU threads inside one call; None: one for each physical core.

    Raises:
        WeightsError: truncated, not ONNX, or not written by ghostyolo.
        ConfigError: the device is unknown or this install of ONNX Runtime cannot use it.
    """

    name = "onnxruntime"

    def __init__(self, path: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        providers = _providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
        except Exception as error:  # ONNX Runtime's own errors share no base class but this
            reason = str(error).strip().splitlines()[-1][:200]
            raise WeightsError(
                f"{path} cannot be opened: truncated, damaged or not an ONNX file; export or fetch it again ({reason})"
            ) from error
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if wanted not in self._session.get_providers():
            raise ConfigError(
                f"device {device} could not be started (CUDA libraries that do not fit onnxruntime-gpu?): "
                "use --device cpu"
            )
        header = self._session.get_modelmeta().custom_metadata_map
        self.metadata = ModelMetadata.from_json(header.get(METADATA_KEY), str(path))
        names = {node.name for node in (*self._session.get_inputs(), *self._session.get_outputs())}
        missing = {"images", "boxes", "scores"} - names
        if missing:
            raise WeightsError(f"{path} has no input or output named {', '.join(sorted(missing))}: export it again")
        self._half = self._session.get_inputs()[0].type == "tensor(float16)"

    def __call__(self, images: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run (B, C, H, W) in 0..1; return boxes_xyxy (B, A, 4) in pixels, scores (B, A, classes)."""
        feed = {"images": images.astype(np.float16) if self._half else images}
        boxes_xyxy, scores = self._session.run(["boxes", "scores"], feed)
        return boxes_xyxy.astype(np.float32, copy=False), scores.astype(np.float32, copy=False)


def _providers(device: str, available: list[str]) -> list[Any]:
    kind, number = parse_device(device)
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in available:
        raise ConfigError(
            f"device {device} needs ONNX Runtime for CUDA: pip uninstall onnxruntime && pip install onnxruntime-gpu"
        )
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
