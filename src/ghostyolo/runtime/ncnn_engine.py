"""Runs folders ``x_ncnn`` on ncnn's CPU kernels, without torch: see :mod:`ghostyolo.runtime.ncnn_folder`.

One picture a call. Arithmetic is float32, but for the convolutions of an int8 file: by itself ncnn computes in half
precision on CPUs that have it, which moves boxes by pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import WeightsError
from ghostyolo.runtime.engine import require_cpu
from ghostyolo.runtime.exported import Array, ExportedEngine
from ghostyolo.runtime.ncnn_folder import BIN, read_description
from ghostyolo.silence import silence


class NcnnEngine(ExportedEngine):
    """A network in ncnn.

    Args:
        path: the ``.param`` file, its weights and ``metadata.json`` beside it.
        device: ``"cpu"``.
        threads: CPU threads inside one call; None: one for each physical core.

    Raises:
        WeightsError: truncated, damaged, not written by ghostyolo, or made for a newer ncnn.
        ConfigError: another device.
    """

    name = "ncnn"

    def __init__(self, path: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        self.path = Path(path)
        require_cpu(device, "ncnn")
        self.metadata = read_description(self.path)
        with silence() as printed:
            import ncnn

            self._ncnn = ncnn
            self._net = open_net(ncnn, self.path, self.path.with_name(BIN), threads)
        if self._net is None:
            reason = printed[0][:200] if printed else "no reason given"
            raise WeightsError(f"{path} cannot be opened by this version of ncnn, pip install -U ncnn ({reason})")
        known = [*self._net.input_names(), *self._net.output_names()]
        self._outputs = [f"out{number}" for number in range(len(self.export.outputs))]
        missing = [name for name in ("in0", *self._outputs) if name not in known]
        if missing:
            raise WeightsError(f"{path} has no blob {', '.join(missing)}: export it again")

    def run(self, images: Array) -> Sequence[npt.NDArray[Any]]:
        extractor = self._net.create_extractor()
        # The Mat is a view: the array must live as long as the extractor.
        picture = np.ascontiguousarray(images[0])
        extractor.input("in0", self._ncnn.Mat(picture))
        outputs = []
        for name in self._outputs:
            status, blob = extractor.extract(name)
            if status != 0:
                raise WeightsError(f"{self.path}: ncnn could not compute {name} (status {status}): export it again")
            outputs.append(np.array(blob)[None])
        return outputs


def open_net(ncnn: Any, param: Path, weights: Path, threads: int | None = None) -> Any:
    """A network of ncnn's in float32 on the CPU; None where it cannot be loaded, which ncnn then printed."""
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        if hasattr(net.opt, f"use_{option}"):  # some are newer than others
            setattr(net.opt, f"use_{option}", False)
    if threads is not None:
        net.opt.num_threads = threads
    if net.load_param(str(param)) != 0 or net.load_model(str(weights)) != 0:
        return None
    return net
