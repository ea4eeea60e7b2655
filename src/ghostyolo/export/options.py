"""What the user asked of an export, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.export.formats import ExportFormat
from ghostyolo.metadata import ExportInfo, ModelMetadata, Output, Precision, check_imgsz
from ghostyolo.thresholds import SELECTION, Selection


@dataclass(frozen=True)
class ExportOptions:
    """How to write a file.

    Attributes:
        imgsz: side of the canvas in pixels, or (height, width); None: the side the weights were trained at.
        dynamic: any batch and any canvas; None: where the format can.
        batch: pictures in a call of a file that is not dynamic.
        precision: ``"fp32"``, ``"fp16"`` or ``"int8"``.
        output: ``"decoded"``, ``"raw"`` or ``"nms"``.
        nms: of ``output="nms"``; ``max_detections`` is of each class and picture there.
        opset: ONNX operator set; None: the format's own.
        rewrite: write an equal graph in another form (:mod:`ghostyolo.export.rewrite`); None: where the format's engine
            is faster with it. INT8 files never are: their ranges are those of the network's own layers.
    """

    imgsz: int | tuple[int, int] | None = None
    dynamic: bool | None = None
    batch: int = 1
    precision: Precision = "fp32"
    output: Output = "decoded"
    nms: Selection = SELECTION
    opset: int | None = None
    rewrite: bool | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ExportOptions:
        """Make them from keywords.

        Raises:
            ConfigError: an unknown name, with the nearest.
        """
        names = [field.name for field in fields(cls)]
        for name in options:
            if name not in names:
                raise ConfigError(f"unknown export option '{name}': {suggest(name, names)}")
        return cls(**options)

    def info(self, kind: ExportFormat, metadata: ModelMetadata) -> ExportInfo:
        """The file's own description, outputs not yet named.

        Raises:
            ConfigError: something that the format cannot do, or an impossible value.
        """
        for name, value, valid in (
            ("precision", self.precision, get_args(Precision)),
            ("output", self.output, get_args(Output)),
        ):
            if value not in valid:
                raise ConfigError(f"unknown {name} '{value}': {suggest(value, valid)}")
        if self.precision not in kind.written_as:
            raise ConfigError(f"{kind.name} is written as {' or '.join(kind.written_as)}, not as {self.precision}")
        if self.output not in kind.outputs:
            raise ConfigError(f"{kind.name} can have {' or '.join(kind.outputs)} outputs, not {self.output}")
        if self.dynamic and not kind.dynamic:
            raise ConfigError(f"{kind.name} files have one size and batch: leave out --dynamic")
        if self.batch < 1:
            raise ConfigError(f"batch must be at least 1, not {self.batch}")
        if self.batch > 1 and not kind.batches:
            raise ConfigError(f"{kind.name} takes one picture at a time: leave out --batch {self.batch}")
        dynamic = kind.dynamic and self.dynamic is not False
        if dynamic and self.batch != 1:
            raise ConfigError(f"batch {self.batch} needs a fixed size: add --static")
        if self.opset is not None and not kind.opsets:
            raise ConfigError(f"opset is for formats that are written through ONNX, {kind.name} is not")
        if self.opset is not None and self.opset not in kind.opsets:
            raise ConfigError(f"opset must be {kind.opsets.start} to {kind.opsets.stop - 1}, not {self.opset}")
        height, width = self.canvas(metadata)
        if dynamic:
            return ExportInfo(format=kind.name, precision=self.precision, output=self.output)
        return ExportInfo(
            format=kind.name,
            precision=self.precision,
            output=self.output,
            batch=self.batch,
            height=height,
            width=width,
        )

    def canvas(self, metadata: ModelMetadata) -> tuple[int, int]:
        """(height, width) in pixels.

        Raises:
            ConfigError: a side that the network cannot take.
        """
        imgsz = self.imgsz or metadata.imgsz
        height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
        for side in (height, width):
            check_imgsz(side, metadata.stride)
        return height, width
