"""Pretrained backbone weights, from a file or the Hugging Face hub.

``timm/ghostnetv3_100.in1k`` (or any ``owner/repository``) is fetched and cached by huggingface-hub; a path may be
``.safetensors``, or the authors' ``.pth``, in which nothing is run. A backbone of timm or torchvision takes that
library's own weights files.

GhostNets have timm's names, whose graphs agree with the authors'; the authors' V1 and V2 ``.pth`` files use them but
for the squeeze-excite of V1 (``se.fc`` forms) and a ``module.`` prefix of parallel training, both understood here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ghostyolo.errors import WeightsError
from ghostyolo.models.backbones.library_adapter import LibraryBackbone
from ghostyolo.models.pickles import read_published
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
    tensors: Mapping[str, Tensor] = read_published(path).tensors
    if not any(name.startswith("backbone.") for name in tensors):
        tensors = (
            {f"backbone.net.{name}": tensor for name, tensor in tensors.items()}
            if foreign
            else from_timm(tensors, str(source))
        )
    return {name: tensor.float() for name, tensor in tensors.items() if name.startswith("backbone.")}


def load_backbone(model: nn.Module, source: str | Path) -> int:
    """Load pretrained weights into ``model.backbone``.

    A stem for another number of image channels starts afresh.

    Weights with another number of training branches are merged, or get more branches, see
    :func:`~ghostyolo.nn.reparam.refit_branches`; a warning says so.

    Returns:
        The number of tensors loaded.

    Raises:
        WeightsError: see :func:`read_backbone_weights`; also weights of another backbone.
    """
    backbone = cast(Any, model).backbone
    foreign = isinstance(backbone, LibraryBackbone)
    tensors = read_backbone_weights(source, foreign)
    tensors, refitted = refit_branches(tensors, model)
    if refitted:
        log.warning("%s: another number of training branches than the network's: refitted, equal in evaluation", source)
    first = f"backbone.net.{backbone.first_convolution}." if foreign else "backbone.stem.conv"
    state = {name: value for name, value in model.state_dict().items() if name.startswith("backbone.")}
    wanted = {name for name in state if not name.endswith("num_batches_tracked")}
    other_input = {
        name for name in wanted & set(tensors) if name.startswith(first) and state[name].ndim > 1
        and state[name].shape[1] != tensors[name].shape[1]
    }  # fmt: skip
    fitting = {
        name: tensors[name] for name in wanted & set(tensors) - other_input if state[name].shape == tensors[name].shape
    }
    misfits = sorted(wanted - other_input - set(fitting))
    if misfits:
        name = misfits[0]
        have = tuple(tensors[name].shape) if name in tensors else "absent"
        raise WeightsError(
            f"{source} is of another backbone: '{name}' is {have} there and {tuple(state[name].shape)} here "
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


# (theirs, ours), applied in order to the part after "blocks.<stage>.<block>.".
_INSIDE_BLOCK = [
    (r"^ghost1\.", "expand."),
    (r"^ghost2\.", "project."),
    (r"^conv_dw\.", "depthwise.conv."),
    (r"^bn_dw\.", "depthwise.norm."),
    (r"^dw_rpr_conv\.(\d+)\.", r"depthwise.branches.\1."),
    (r"^dw_rpr_scale\.", "depthwise.pointwise."),
    (r"^se\.(?:conv_)?reduce\.", "squeeze_excite.reduce."),
    (r"^se\.(?:conv_)?expand\.", "squeeze_excite.expand."),
    (r"^shortcut\.0\.", "shortcut.0.conv."),
    (r"^shortcut\.1\.", "shortcut.0.norm."),
    (r"^shortcut\.2\.", "shortcut.1.conv."),
    (r"^shortcut\.3\.", "shortcut.1.norm."),
    (r"primary_conv\.0\.", "primary.conv."),
    (r"primary_conv\.1\.", "primary.norm."),
    (r"cheap_operation\.0\.", "cheap.conv."),
    (r"cheap_operation\.1\.", "cheap.norm."),
    (r"primary_rpr_conv\.(\d+)\.", r"primary.branches.\1."),
    (r"cheap_rpr_conv\.(\d+)\.", r"cheap.branches.\1."),
    (r"cheap_rpr_scale\.", "cheap.pointwise."),
    (r"cheap_rpr_skip\.", "cheap.identity."),
    (r"short_conv\.0\.", "gate.project.conv."),
    (r"short_conv\.1\.", "gate.project.norm."),
    (r"short_conv\.2\.", "gate.horizontal.conv."),
    (r"short_conv\.3\.", "gate.horizontal.norm."),
    (r"short_conv\.4\.", "gate.vertical.conv."),
    (r"short_conv\.5\.", "gate.vertical.norm."),
    (r"\.(?:bn1|bn)\.", ".norm."),
]
_OUTSIDE = [
    (r"^conv_stem\.", "backbone.stem.conv."),
    (r"^bn1\.", "backbone.stem.norm."),
    (r"^blocks\.9\.0\.conv\.", "last.conv."),
    (r"^blocks\.9\.0\.bn1\.", "last.norm."),
    (r"^conv_head\.", "hidden."),
    (r"^classifier\.", "classifier."),
]
# timm counts nine stages of blocks: a new one at every change of stride or width. Ours are the paper's five.
_STAGES = {0: (0, 0), 1: (1, 0), 2: (1, 1), 3: (2, 0), 4: (2, 1), 5: (3, 0), 6: (3, 1), 7: (4, 0), 8: (4, 1)}


def _translate(name: str) -> str | None:
    name = name.removeprefix("module.")
    if name.endswith("num_batches_tracked"):
        return None
    for pattern, ours in _OUTSIDE:
        if re.match(pattern, name):
            return re.sub(pattern, ours, name)
    match = re.match(r"^blocks\.(\d)\.(\d)\.(.*)$", name)
    if match is None:
        raise KeyError(name)
    stage, first = _STAGES[int(match[1])]
    rest = match[3]
    for pattern, ours in _INSIDE_BLOCK:
        rest = re.sub(pattern, ours, rest)
    return f"backbone.stages.{stage}.{first + int(match[2])}.{rest}"


def from_timm(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Translate timm's names of GhostNet tensors into ours.

    Values are as they were. Names begin with ``backbone.`` but for the classifier's head.

    Raises:
        WeightsError: a name that no GhostNet has.
    """
    translated: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        try:
            ours = _translate(name)
        except KeyError as error:
            raise WeightsError(f"{where} does not hold a GhostNet of timm's or the authors': tensor {error}") from error
        if ours is not None:
            translated[ours] = tensor
    return translated
