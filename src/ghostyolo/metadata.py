"""What a weights file says about itself.

The same JSON stands inside ``.safetensors`` and inside every exported model.

It is stored under the key ``"ghostyolo"`` (safetensors header metadata, ONNX ``metadata_props``), so a model needs no
second file beside it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ghostyolo.errors import ConfigError, WeightsError

METADATA_KEY = "ghostyolo"
FORMAT_VERSION = 1

Precision = Literal["fp32", "fp16", "int8"]
Output = Literal["decoded", "raw", "nms"]


def check_imgsz(side: int, stride: int, reason: str = "") -> None:
    """Refuse the side of a canvas that a network cannot take.

    Args:
        side: in pixels.
        stride: what sides must be a multiple of, in pixels.
        reason: who needs it, such as ``", as the teacher needs"``.

    Raises:
        ConfigError: no multiple of the stride; names the nearest one.
    """
    if side < 1 or side % stride:
        nearest = max(stride, round(side / stride) * stride)
        raise ConfigError(f"imgsz {side} is not a multiple of {stride}{reason}: the nearest valid one is {nearest}")


class ExportInfo(BaseModel):
    """How a file for a device was written.

    An engine must know it to feed the file and to read its answer.

    Attributes:
        format: name of the format, such as ``"onnx"``.
        precision: of the weights, and of the arithmetic where the engine can.
        batch: pictures in a call; None: any number.
        height, width: of the canvas in pixels; None: any multiple of the stride.
        output: ``"decoded"`` boxes and scores, ``"raw"`` maps of the head, or ``"nms"`` detections.
        outputs: names of the outputs in order, for formats that keep no names.
    """

    model_config = ConfigDict(extra="forbid")

    format: str
    precision: Precision = "fp32"
    batch: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)
    width: int | None = Field(default=None, gt=0)
    output: Output = "decoded"
    outputs: list[str] = ["boxes", "scores"]

    @property
    def canvas(self) -> tuple[int, int] | None:
        """Return (height, width) of the only canvas it takes, None for any."""
        return (self.height, self.width) if self.height and self.width else None


class Origin(BaseModel):
    """Published weights that a file was made from, and the terms they came under.

    Attributes:
        name: as its makers call it, such as ``"YOLOX"``.
        maker: whose they are.
        licence: an SPDX name, such as ``"Apache-2.0"``, or as the file stated it.
        url: of its makers.
        file, sha256: that was read.
        use: whether these are the weights, or their backbone or teacher.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    maker: str
    licence: str
    url: str = ""
    file: str = ""
    sha256: str = ""
    use: Literal["weights", "backbone", "teacher"] = "weights"

    def line(self) -> str:
        """Return what a command says of them, in one line."""
        return f"licence of the {self.use}: {self.licence} ({self.name} by {self.maker}, {self.url})"


class BestConfidence(BaseModel):
    """The confidences with the highest F1 on the validation split.

    Attributes:
        overall: one for all classes: the highest mean of their F1.
        per_class: by name, of the classes that have objects there.
    """

    model_config = ConfigDict(extra="forbid")

    overall: float = Field(ge=0, le=1)
    per_class: dict[str, float] = {}


class ModelMetadata(BaseModel):
    """Everything an engine needs beside the weights.

    Attributes:
        format_version: raised when a reader of an older version could misread the file.
        version: the ghostyolo version that wrote the file.
        model: name in the zoo, such as ``"yolov13n-ghostnetv3"``.
        class_names: one name for each class index.
        imgsz: side in pixels of the square the model was trained at; the letterbox default.
        stride: image sides must be multiples of this.
        in_channels: 1 (grey), 3 (RGB) or more (numpy input only).
        mean, std: per-channel normalisation, ALREADY applied inside the network: every engine feeds RGB in 0..1.
        pixel_range: of pictures of more than 8 bits, the values that are black and white: those of the training data;
            None: it learned from 8 bits, or the file is older.
        resize: how pictures are shrunk: ``"area"``, the mean of all pixels, or ``"bilinear"``, where a file is silent.
        place: where a picture lies on the canvas: in the middle, at the upper left (``"corner"``), or all over it.
        deployed: branches and batch norms are folded.
        nms: boxes of one object must be suppressed but for the best; False for a head that finds each object once.
            Files of versions that had no such head lack it.
        config: the network's own declaration, enough to rebuild it in torch.
        metrics: how the weights scored, by name, values in 0..1, with the data set they were measured on.
        derived_from: published weights that these were made from, whose licences go on.
        best_confidence: what ``confidence="auto"`` stands for; None: not measured.
        export: how the file was written for a device; None in checkpoints, and in ONNX files of versions that wrote
            nothing else (any batch and size, boxes and scores).
    """

    model_config = ConfigDict(extra="forbid")

    format_version: int = FORMAT_VERSION
    version: str = ""
    model: str
    class_names: list[str] = Field(min_length=1)
    imgsz: int = Field(gt=0)
    stride: int = Field(default=32, gt=0)
    in_channels: int = Field(default=3, gt=0)
    mean: list[float] = [0.0, 0.0, 0.0]
    std: list[float] = [1.0, 1.0, 1.0]
    pixel_range: tuple[float, float] | None = None
    resize: Literal["area", "bilinear"] = "bilinear"
    place: Literal["centre", "corner", "stretch"] = "centre"
    deployed: bool = False
    nms: bool = True
    config: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    derived_from: list[Origin] = []
    best_confidence: BestConfidence | None = None
    export: ExportInfo | None = None

    def to_json(self) -> str:
        """Serialise for a file header."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | None, where: str) -> ModelMetadata:
        """Read a file header.

        Args:
            text: the JSON, or None where the header has no such key.
            where: the file, for the message.

        Raises:
            WeightsError: no metadata, damaged, or written by a newer format.
        """
        if text is None:
            raise WeightsError(f"{where} was not written by ghostyolo: it has no '{METADATA_KEY}' metadata")
        try:
            metadata = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise WeightsError(
                f"{where}: its metadata is damaged or newer than this version ({key}: {first['msg']})"
            ) from error
        if metadata.format_version > FORMAT_VERSION:
            raise WeightsError(
                f"{where} has format {metadata.format_version}, this version reads up to {FORMAT_VERSION}: "
                "take a newer ghostyolo"
            )
        return metadata


def numbered_names(count: int) -> list[str]:
    """Names of classes that a file of another program does not name."""
    return [f"class {number}" for number in range(count)]
