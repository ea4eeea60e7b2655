"""Read GhostNet weights that timm or the papers' authors published into our backbones and classifiers.

timm's graphs agree with the authors'; the authors' V1 and V2 ``.pth`` files use timm's names but for the
squeeze-excite of V1 (``se.fc`` forms) and a ``module.`` prefix of parallel training, both understood here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ghostyolo.errors import WeightsError

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
    """Translate names; values are as they were. Names begin with ``backbone.`` but for the classifier's head.

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
