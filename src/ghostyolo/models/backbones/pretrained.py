"""Pretrained backbone weights from a local file or by name from the Hugging Face hub.

``timm/ghostnetv3_100.in1k`` (or any ``owner/repository``) is fetched and cached by huggingface-hub; a path may be
``.safetensors``, or the authors' ``.pth``, which is loaded with ``weights_only``: no code in it can run. A backbone of
timm or torchvision takes that library's own weights files.
"""

from __future__ import annotations

import logging
import pickle
import re
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ghostyolo.errors import WeightsError
from ghostyolo.models.backbones.foreign import ForeignBackbone
from ghostyolo.models.backbones.timm_names import from_timm
from ghostyolo.nn.reparam import refit_branches

log = logging.getLogger(__name__)

_HUB_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")


def read_backbone_weights(source: str | Path, foreign: bool = False) -> dict[str, Tensor]:
    """Tensors by our names, each beginning with ``backbone.``; a classifier's head is left out.

    Understands our checkpoints (detectors and classifiers) and GhostNets of timm's or the authors' names.

    Args:
        foreign: the names are of another library, whose network the backbone holds as it is.

    Raises:
        WeightsError: missing, damaged, unsafe or foreign file, or a hub that cannot be reached.
    """
    path = Path(source)
    if not path.is_file():
        if not _HUB_NAME.match(str(source)) or path.suffix in (".pth", ".pt", ".safetensors", ".bin"):
            raise WeightsError(f"backbone weights {source}: no such file, and not an 'owner/repository' of the hub")
        path = _download(str(source))
    tensors = _read(path)
    if not any(name.startswith("backbone.") for name in tensors):
        tensors = (
            {f"backbone.net.{name}": tensor for name, tensor in tensors.items()}
            if foreign
            else from_timm(tensors, str(source))
        )
    return {name: tensor.float() for name, tensor in tensors.items() if name.startswith("backbone.")}


def load_backbone(model: nn.Module, source: str | Path) -> int:
    """Load pretrained weights into ``model.backbone``. A stem for another number of image channels starts afresh.

    Weights with another number of training branches are merged, or get more branches, see
    :func:`~ghostyolo.nn.reparam.refit_branches`; a warning says so.

    Returns:
        The number of tensors loaded.

    Raises:
        WeightsError: see :func:`read_backbone_weights`; also weights of another backbone.
    """
    backbone = cast(Any, model).backbone
    foreign = isinstance(backbone, ForeignBackbone)
    tensors = read_backbone_weights(source, foreign)
    tensors, refitted = refit_branches(tensors, model)
    if refitted:
        log.warning("%s: another number of training branches than the network's: refitted, equal in evaluation", source)
    first = f"backbone.net.{backbone.first_convolution}." if foreign else "backbone.stem.conv"
    own = {name: value for name, value in model.state_dict().items() if name.startswith("backbone.")}
    wanted = {name for name in own if not name.endswith("num_batches_tracked")}
    other_input = {
        name for name in wanted & set(tensors) if name.startswith(first) and own[name].ndim > 1
        and own[name].shape[1] != tensors[name].shape[1]
    }  # fmt: skip
    fitting = {
        name: tensors[name] for name in wanted & set(tensors) - other_input if own[name].shape == tensors[name].shape
    }
    misfits = sorted(wanted - other_input - set(fitting))
    if misfits:
        name = misfits[0]
        have = tuple(tensors[name].shape) if name in tensors else "absent"
        raise WeightsError(
            f"{source} is of another backbone: '{name}' is {have} there and {tuple(own[name].shape)} here "
            f"({len(misfits)} of {len(wanted)} tensors differ); choose the same version and width"
        )
    model.load_state_dict(fitting, strict=False)
    return len(fitting)


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for filename in ("model.safetensors", "pytorch_model.bin"):
        try:
            return Path(hf_hub_download(name, filename))
        except Exception as error:  # the hub client raises errors of several libraries, all meaning "not reached"
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(
                f"cannot fetch '{name}' from the Hugging Face hub ({reason}); check the name and the connection, or "
                "download the file elsewhere and give its path"
            ) from error
    raise WeightsError(f"'{name}' on the Hugging Face hub has neither model.safetensors nor pytorch_model.bin")


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is damaged or not a safetensors file: {error}") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise WeightsError(f"{path} is damaged, or holds more than weights and was refused") from error
    for key in ("state_dict", "model", "state_dict_ema"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} does not hold a state dict of tensors")
    return loaded
