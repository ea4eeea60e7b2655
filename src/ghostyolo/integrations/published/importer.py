"""Turns a published checkpoint into one of ours, whose outputs are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ghostyolo._version import __version__
from ghostyolo.errors import ConfigError, WeightsError, short, suggest
from ghostyolo.integrations.published.families import FAMILIES, Family
from ghostyolo.integrations.published.folded import measure_norms, take_folded
from ghostyolo.integrations.published.ghostnet import GHOSTNETS, build_ghostnet, ghostnet_config
from ghostyolo.integrations.published.names import translated
from ghostyolo.integrations.published.onnx_file import check_answers, count_classes, read_convolutions
from ghostyolo.integrations.published.origin import origin_of
from ghostyolo.integrations.published.pictures import built_in_pictures
from ghostyolo.metadata import ModelMetadata, numbered_names
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.default_anchors import default_anchors
from ghostyolo.models.detector import DetectionModel, resolve_config
from ghostyolo.models.names import is_model_name
from ghostyolo.models.pickles import Published, read_published
from ghostyolo.models.weights import NOT_STORED, save_checkpoint

_IMGSZ = 640  # where neither the network nor the file says another
_MEASURED_SIDE = 416
_STRIDES = (8, 16, 32)
_ROUNDED = 0.05  # pixels: half precision of an anchor


@dataclass(frozen=True)
class Imported:
    """A checkpoint of ours that was made from a published one.

    Attributes:
        metadata: says whose weights they are (``derived_from``).
        measured: norms that the file had folded away, and that were measured.
    """

    path: Path
    metadata: ModelMetadata
    measured: int


def import_checkpoint(file: str | Path, model: str, out: str | Path) -> Imported:
    """Write a published checkpoint as a ``.safetensors`` checkpoint of ours.

    Args:
        file: ``.pt``, ``.pth`` or ``.safetensors``, or the ``.onnx`` of a YOLOX.
        model: which network of ours it is, such as ``"yolov8n"``, or a GhostNet's name in timm.
        out: where it goes.

    Raises:
        ConfigError: a network that no published family is.
        WeightsError: a file that is damaged or hostile, or a layer that does not fit.
        OutputError: ``out`` cannot be written.
    """
    file = Path(file)
    if ghostnet_config(model) is not None:
        published = read_published(file)
        classifier, metadata = build_ghostnet(model, published)
        save_checkpoint(classifier, metadata, out)
        return Imported(Path(out), metadata, 0)
    config, family = _family_of(model)
    if file.suffix == ".onnx" and file.is_file():
        published = Published(file, {})
        network, measured = _build_from_onnx(config, family, file)
    else:
        published = read_published(file)
        network, measured = _build(config, family, published)
    names = published.class_names or family.names_of(network.num_classes) or numbered_names(network.num_classes)
    if len(names) != network.num_classes:
        raise WeightsError(f"{file} names {len(names)} classes and has layers for {network.num_classes}")
    metadata = ModelMetadata(
        version=__version__,
        model=network.config.name,
        class_names=names,
        imgsz=config.imgsz or published.imgsz or _IMGSZ,
        stride=network.stride,
        place=family.place,
        nms=network.needs_nms,
        config=network.config.model_dump(mode="json"),
        derived_from=[origin_of(family.title, family.maker, family.licence, family.url, published)],
    )
    save_checkpoint(network, metadata, out)
    return Imported(Path(out), metadata, measured)


def _family_of(model: str) -> tuple[DetectorConfig, Family]:
    if not is_model_name(model):
        raise ConfigError(f"--as '{model}' is no network: {suggest(model, importable_names())}")
    config = resolve_config(model)
    parts = (config.backbone.type, config.neck.type, config.head.type)
    family = next((family for family in FAMILIES if family.parts == parts), None)
    if family is None:
        raise ConfigError(f"--as '{model}' is a network that nobody published: {suggest(model, importable_names())}")
    return config, family


def importable_names() -> list[str]:
    """Return the networks that published checkpoints can be imported as."""
    return [name for family in FAMILIES for name in family.published] + sorted(GHOSTNETS)


def _build(config: DetectorConfig, family: Family, published: Published) -> tuple[DetectionModel, int]:
    """The network with the published weights, and how many norms were measured."""
    where = f"{published.path} is no '{config.name}'"
    classes = family.count_classes(published.tensors)
    if classes is None or classes < 1:
        raise WeightsError(f"{where}: it has no layer '{family.class_layer}', which counts the classes")
    if family.anchors:
        config = _with_anchors(config, published.tensors[family.anchors])
    network = DetectionModel(config, classes)
    theirs = _translate(network, family, published.tensors, where)
    return network, _fill(
        network, family, {ours: published.tensors[name].float() for ours, name in theirs.items()}, theirs, where
    )


def _build_from_onnx(config: DetectorConfig, family: Family, path: Path) -> tuple[DetectionModel, int]:
    where = f"{path} is no '{config.name}'"
    if family.title != "YOLOX":
        raise ConfigError(
            f"--as '{config.name}': only a YOLOX is imported from ONNX; give the .pt that it was made from"
        )
    with torch.device("meta"):
        shape = DetectionModel(config, 1)
    tensors = read_convolutions(path, shape)
    network = DetectionModel(config, count_classes(tensors))
    measured = _fill(network, family, tensors, {}, where)
    check_answers(path, network, built_in_pictures(config.imgsz or _IMGSZ)[0][0])
    return network, measured


def _fill(
    network: DetectionModel, family: Family, tensors: dict[str, Tensor], theirs: Mapping[str, str], where: str
) -> int:
    """Load tensors of our names; return how many norms had to be measured."""
    try:
        family.settle(tensors, network)
    except (RuntimeError, KeyError, IndexError) as error:
        raise WeightsError(f"{where}: its layers have other shapes ({short(error)})") from error
    places = take_folded(network, tensors)
    misfit = _misfit(network, tensors, theirs)
    if misfit is not None:
        raise WeightsError(f"{where}: {misfit}")
    network.load_state_dict(tensors, strict=False)
    network.eval()
    if places:
        measure_norms(network, places, built_in_pictures(_MEASURED_SIDE))
    return len(places)


def _with_anchors(config: DetectorConfig, anchors: Tensor) -> DetectorConfig:
    """Declare the checkpoint's anchors, which it has in strides, unless they are the usual ones.

    Training adapts anchors that nobody declared to its data.
    """
    pixels = anchors.float() * torch.tensor(_STRIDES).view(-1, 1, 1)
    usual = torch.tensor(default_anchors(_STRIDES))
    if pixels.shape == usual.shape and torch.allclose(pixels, usual.float(), atol=_ROUNDED):
        return config
    head = config.head.model_copy(update={"params": {**config.head.params, "anchors": pixels.tolist()}})
    return config.model_copy(update={"head": head})


def _translate(network: nn.Module, family: Family, tensors: Mapping[str, Tensor], where: str) -> dict[str, str]:
    """Their name of each of ours."""
    theirs: dict[str, str] = {}
    for name, tensor in tensors.items():
        if name.endswith(family.unused):
            continue
        if not tensor.isfinite().all():
            raise WeightsError(f"{where}: layer '{name}' holds values that are not finite numbers")
        ours = translated(name, network, family.layers, family.words)
        if ours is None:
            raise WeightsError(f"{where}: it has a layer '{name}', which the network does not have")
        theirs[ours] = name
    return theirs


def _misfit(network: nn.Module, tensors: Mapping[str, Tensor], theirs: Mapping[str, str]) -> str | None:
    """Say the first layer that does not fit, by its published name; None where all do."""
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(NOT_STORED)}
    for name, mine in state.items():
        if name not in tensors:
            return f"it has nothing for our layer '{name}'"
        if tensors[name].shape != mine.shape:
            shapes = f"{tuple(tensors[name].shape)} there and {tuple(mine.shape)} here"
            return f"layer '{theirs.get(name, name)}' is {shapes}: is it of another size?"
    further = sorted(set(tensors) - set(state))
    return (
        f"it has a layer '{theirs.get(further[0], further[0])}', which the network does not have" if further else None
    )
