"""Runs a network in torch.

It is a ``.safetensors`` checkpoint, folded, or a live model while it trains. torch is imported when a network is
opened, not before: this file is read in the install without it, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ghostyolo.errors import ConfigError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.openmp import wait_passively
from ghostyolo.runtime.engines import EngineKind, EngineSetup, parse_device

if TYPE_CHECKING:
    import torch
    from torch import nn


class TorchEngine:
    """A live torch detector behind the engine interface.

    The model is put in evaluation mode for each call and back afterwards, so validation inside training needs
    no care.

    Args:
        model: in evaluation mode ``forward(images (B, C, H, W))`` gives boxes (B, A, 4) and scores (B, A,
            classes).
        metadata: its class names, image size and stride.
        device: where the model is to run; it is moved there.
    """

    name = "torch"

    def __init__(self, model: nn.Module, metadata: ModelMetadata, device: str | torch.device = "cpu") -> None:
        import torch

        self.model = model.to(device)
        self.metadata = metadata
        self.device = torch.device(device)

    def __call__(self, images: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Run (B, C, H, W) in 0..1; return boxes_xyxy (B, A, 4) in pixels, scores (B, A, classes)."""
        import torch

        parameter = next(self.model.parameters(), None)
        dtype = torch.float32 if parameter is None else parameter.dtype
        was_training = self.model.training
        self.model.eval()
        try:
            # Not inference_mode: a tensor that the model caches must stay usable in the next training step.
            with torch.no_grad():
                boxes_xyxy, scores = self.model(torch.from_numpy(images).to(self.device, dtype))
        finally:
            self.model.train(was_training)
        return boxes_xyxy.float().cpu().numpy(), scores.float().cpu().numpy()


def open_torch_engine(path: Path, setup: EngineSetup) -> TorchEngine:
    """Open a ``.safetensors`` checkpoint, folded unless it already is.

    Raises:
        WeightsError: not a checkpoint of ours, or damaged.
        ConfigError: the device is unknown or absent.
    """
    wait_passively()
    import torch

    from ghostyolo.models.weights import load_checkpoint
    from ghostyolo.nn.reparam import fold

    setup.check_options("torch", ())
    device = setup.device
    kind, number = parse_device(device)
    if kind == "cuda" and number >= torch.cuda.device_count():
        raise ConfigError(f"device {device}: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu")
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    model, metadata = load_checkpoint(path)
    if not metadata.deployed:
        return TorchEngine(fold(model).eval(), metadata, device)
    return TorchEngine(model.eval(), metadata, device)


KIND = EngineKind("torch", ".safetensors", open_torch_engine, packages=("torch",), extra="train")
