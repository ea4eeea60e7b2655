"""Checkpoints: one ``.safetensors`` file of weights with :class:`ModelMetadata` in its header. Never a pickle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ghostyolo.errors import GhostYoloError, WeightsError
from ghostyolo.files import atomic_path
from ghostyolo.metadata import METADATA_KEY, ModelMetadata, Origin
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.detector import DetectionModel
from ghostyolo.models.image_classifier import ClassifierConfig, ImageClassifier, build_classifier
from ghostyolo.nn.reparam import fold

NOT_STORED = "num_batches_tracked"  # unused where a momentum is set, and not worth a tensor each


def save_checkpoint(
    model: DetectionModel | ImageClassifier, metadata: ModelMetadata, path: str | Path, half: bool = False
) -> None:
    """Write weights and metadata atomically.

    Args:
        half: store floating tensors as float16; they are read back as float32.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.endswith(NOT_STORED):
            continue
        stored = tensor.detach().cpu()
        if half and stored.is_floating_point():
            stored = stored.half()
        tensors[name] = stored.clone().contiguous()
    header = metadata.model_copy(update={"config": model.config.model_dump(mode="json"), "nms": model.needs_nms})
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: header.to_json()})


def rewrite_metadata(path: str | Path, change: Callable[[ModelMetadata], ModelMetadata]) -> None:
    """Change what a checkpoint says of itself; its tensors stay as they are.

    Raises:
        WeightsError: see :func:`read_checkpoint`.
        OutputError: the file cannot be written.
    """
    metadata = change(read_checkpoint(path)[1])
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: metadata.to_json()})


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], ModelMetadata]:
    """Read tensors (float32) and metadata; nothing is ever unpickled.

    Raises:
        WeightsError: the file is missing, truncated, not safetensors, or not ours.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist")
    if path.suffix in (".pt", ".pth", ".ckpt", ".pkl"):
        raise WeightsError(
            f"{path} is a pickle, which could run any code: only .safetensors checkpoints are loaded; "
            "`ghostyolo import` makes one of a published file, and runs nothing in it"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged, truncated or not a safetensors file: {error}") from error
    metadata = ModelMetadata.from_json(header, str(path))
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }, metadata


def origins_of(path: str | Path, use: Literal["weights", "backbone", "teacher"]) -> list[Origin]:
    """Return the published weights that a file was made from.

    Args:
        use: what the file is used as. A file that is no checkpoint of ours says nothing.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        return []
    with contextlib.suppress(SafetensorError, OSError, WeightsError), safe_open(path, framework="pt") as file:
        metadata = ModelMetadata.from_json((file.metadata() or {}).get(METADATA_KEY), str(path))
        return [
            origin.model_copy(update={"use": use if origin.use == "weights" else origin.use})
            for origin in metadata.derived_from
        ]
    return []


def load_checkpoint(path: str | Path) -> tuple[DetectionModel, ModelMetadata]:
    """Rebuild the network that a checkpoint declares, in evaluation mode, and load its weights.

    Raises:
        WeightsError: see :func:`read_checkpoint`; also weights that do not fit the declared network.
    """
    tensors, metadata = read_checkpoint(path)
    if is_classifier(metadata):
        raise WeightsError(f"{path} is a classifier, not a detector: give it to `train` as backbone_weights")
    with _declared_by(path):
        config = DetectorConfig.from_dict(metadata.config, where=str(path))
        model = DetectionModel(config, len(metadata.class_names), metadata.in_channels)
        if metadata.deployed:
            model = fold(model)  # type: ignore[assignment]
        _load_exactly(model, tensors, path)
    return model.eval(), metadata


def load_classifier(path: str | Path) -> tuple[ImageClassifier, ModelMetadata]:
    """Rebuild the classifier that a checkpoint declares, in evaluation mode, and load its weights.

    Raises:
        WeightsError: see :func:`load_checkpoint`.
    """
    tensors, metadata = read_checkpoint(path)
    if not is_classifier(metadata):
        raise WeightsError(f"{path} is a detector, not a classifier: `pretrain` writes classifiers")
    with _declared_by(path):
        config = ClassifierConfig.from_dict(metadata.config, where=str(path))
        model = build_classifier(config, len(metadata.class_names), metadata.in_channels)
        _load_exactly(model, tensors, path)
    return model.eval(), metadata


def is_classifier(metadata: ModelMetadata) -> bool:
    """Whether a checkpoint's declaration is that of a classifier."""
    return metadata.config.get("task") == "classification"


@contextlib.contextmanager
def _declared_by(path: str | Path) -> Iterator[None]:
    """Whatever building and loading raise is a fault of the file, whose declaration can say anything."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, GhostYoloError) else f"{type(error).__name__}: {error}"
        raise WeightsError(
            f"{path} declares a network that cannot be had, damaged or of another version: {' '.join(reason.split())}"
        ) from error


def _load_exactly(model: torch.nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith(NOT_STORED)]
    if missing or unexpected:
        name = (missing or unexpected)[0]
        state = "lacks" if missing else "has an unknown"
        raise WeightsError(f"{path} does not fit its own declaration: it {state} tensor '{name}'")
