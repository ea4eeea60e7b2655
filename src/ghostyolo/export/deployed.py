"""A folded detector, and what a writer needs to know beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ghostyolo.errors import ConfigError
from ghostyolo.export.formats import find_format
from ghostyolo.export.options import ExportOptions
from ghostyolo.export.rewrite.graph import PassReport
from ghostyolo.export.rewrite.rewriter import Rewritten, rewrite
from ghostyolo.metadata import ModelMetadata, Output
from ghostyolo.models.detector import DetectionModel
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.raw_outputs import level_name

NETWORK = "network"  # the attribute of DeployedModel that begins the names of its weights


class DeployedModel(nn.Module):
    """A folded detector whose outputs are one tuple.

    They are decoded boxes and scores, or the raw maps of its head.

    Args:
        folded: in evaluation mode, on the CPU, float32.
        output: ``"raw"`` for maps; else boxes (B, A, 4) and scores (B, A, classes). Suppression is added to the graph
            by the formats that can.

    Attributes:
        names: of the outputs.

    Raises:
        ConfigError: the head has no raw outputs.
    """

    def __init__(self, folded: DetectionModel, output: Output) -> None:
        super().__init__()
        self.network = folded
        self.raw = output == "raw"
        self.names: tuple[str, ...] = ("boxes", "scores")
        if self.raw:
            if not hasattr(folded.head, "raw"):
                raise ConfigError(f"head '{folded.config.head.type}' has no raw outputs: use --output decoded")
            self.names = tuple(level_name(stride) for stride in folded.strides)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.raw:
            return tuple(self.network.head.raw(self.network.features(images)))  # type: ignore[operator]
        return tuple(self.network(images))


@dataclass(frozen=True)
class ExportJob:
    """What a writer is given.

    Attributes:
        model: the network to write.
        metadata: to put inside the file as it is; ``metadata.export`` says size, batch, precision and outputs.
        options: what was asked for.
        made: what :meth:`once` made.
        reports: what rewriting did to the graph, once it is written.
    """

    model: DeployedModel
    metadata: ModelMetadata
    options: ExportOptions
    made: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    reports: list[PassReport] = field(default_factory=list, compare=False, repr=False)

    def once(self, what: str, make: Callable[[], Any]) -> Any:
        """Return what a step of writing makes, which runs once.

        One is the graph that several trials are made from. A copy (``copy.deepcopy``), so that a writer may change it.
        """
        if what not in self.made:
            self.made[what] = make()
        return copy.deepcopy(self.made[what])

    def rewritten(self, example: Tensor | None = None, dynamic_shapes: Any = None) -> Rewritten | None:
        """Return the network in the form that the format's engine runs fastest.

        It is None where the network is to be written as it is.

        Args:
            example: what to capture it with; None: :meth:`example`.
            dynamic_shapes: of ``torch.export``; None: the example's size only.
        """
        export = self.metadata.export
        if export is None or export.precision == "int8":
            return None
        kind = find_format(export.format)
        if not (kind.rewritten if self.options.rewrite is None else self.options.rewrite):
            return None
        example = self.example() if example is None else example
        made = rewrite(self.model, example, dynamic_shapes, kind.channel_block)
        self.reports[:] = made.reports
        return made

    def traceable(self) -> nn.Module:
        """What writers trace: the rewritten network, or the network."""
        made = self.rewritten()
        return self.model if made is None else made.module

    def example(self) -> Tensor:
        """Make a picture of noise (B, C, H, W).

        It has the file's batch and canvas, or the training size where they are open.
        """
        export = self.metadata.export
        batch = export.batch if export and export.batch else 1
        height, width = self.options.canvas(self.metadata)
        generator = torch.Generator().manual_seed(0)
        return torch.rand(batch, self.metadata.in_channels, height, width, generator=generator)


def fold_for_device(model: DetectionModel) -> DetectionModel:
    """A folded float32 copy on the CPU in evaluation mode, without gradients."""
    return fold(copy.deepcopy(model).cpu().float()).eval().requires_grad_(False)  # type: ignore[return-value]
