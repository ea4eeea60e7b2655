"""What a detector's name means. No torch.

    yolov13n-ghostnetv3           a file of the zoo (models/zoo/NAME.yaml), or, where there is none:
    yolov8s, yolox-s              a family (models/zoo/families/NAME.yaml) at a scale (p, n, s, m, l, x)
    yolov8s-ghostnetv3-psa        the same with another backbone (any registered one, _ written -)
    yolov8s-ghostnetv3-e2e        the same with the head that needs no NMS
    mobilenetv2+yolov8_pafpn+dfl  three parts by their registered names, at scale n
    yolov8-ghostnetv3@2M          about 2 million deployed parameters; @3G: about 3 GFLOPs at 640 px; @1.4: a scale

Sizes after ``@`` are counted with 80 classes, as ``ghostyolo models`` does, and go with every form but a zoo file's.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

import yaml

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.scales import LETTERS, Scale

END_TO_END = "-e2e"
GHOSTS = ("ghostnetv3", "ghostnetv3-psa")
_BUDGET = re.compile(r"(?P<number>\d+(\.\d*)?)(?P<unit>[MG]?)")


@cache
def _files(folder: str) -> dict[str, str]:
    place = resources.files("ghostyolo.models") / folder
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(place.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def _zoo() -> dict[str, str]:
    return _files("zoo")


def _families() -> dict[str, str]:
    return _files("zoo/families")


def list_models() -> list[str]:
    """Return the names of the zoo.

    Its files, and every family at every scale with its own and with GhostNetV3 backbones.

    Many more are valid, see this module.
    """
    names = set(_zoo())
    for family in _families():
        for letter in LETTERS:
            name = f"{family}{_separator(family)}{letter}"
            names |= {name, *(f"{name}-{ghost}" for ghost in GHOSTS)}
    return sorted(names)


def is_model_name(name: str) -> bool:
    """Whether a name has one of the forms above, valid or not."""
    if name in _zoo():
        return True
    stem = name.partition("@")[0]
    return stem.count("+") == 2 or _family_form(stem, at_size="@" in name) is not None


def zoo_config(name: str) -> DetectorConfig:
    """The declaration that a name stands for.

    Raises:
        ConfigError: an unknown name, with the nearest ones, or an impossible size.
    """
    if name in _zoo():
        return DetectorConfig.from_dict({"name": name, **yaml.safe_load(_zoo()[name])}, where=f"model '{name}'")
    stem, at, size = name.partition("@")
    budget = _budget(name, size) if at else {}
    if stem.count("+") == 2:
        backbone, neck, head = stem.split("+")
        return _declare(name, {"backbone": backbone, "neck": neck, "head": head}, budget or {"scale": "n"})
    form = _family_form(stem, at_size=bool(at))
    if form is None:
        raise ConfigError(f"unknown model '{name}': {suggest(name, list_models())}")
    family, letter, rest = form
    parts: dict[str, Any] = dict(yaml.safe_load(_families()[family]))
    end_to_end = parts.pop("end_to_end", "end2end")
    if rest.endswith(END_TO_END):
        rest = rest.removesuffix(END_TO_END)
        parts["head"] = end_to_end
    if rest:
        parts["backbone"] = rest[1:].replace("-", "_")
    return _declare(name, parts, budget or {"scale": letter})


def _declare(name: str, parts: dict[str, Any], size: dict[str, Any]) -> DetectorConfig:
    return DetectorConfig.from_dict({"name": name, **parts, **size}, where=f"model '{name}'")


def _family_form(stem: str, *, at_size: bool) -> tuple[str, str, str] | None:
    """Family, scale letter (empty where the size comes after @) and the rest, which is empty or starts with a dash."""
    for family in sorted(_families(), key=len, reverse=True):
        if not stem.startswith(family):
            continue
        rest = stem.removeprefix(family)
        if not at_size and rest.startswith(separator := _separator(family)):
            rest = rest.removeprefix(separator)
        letter = "" if at_size else rest[:1]
        rest = rest.removeprefix(letter)
        if (at_size or letter in LETTERS) and (not rest or (rest[0] == "-" and len(rest) > 1)):
            return family, letter, rest
    return None


def _separator(family: str) -> str:
    """Between a family and its scale: yolov8s, but yolox-s."""
    return "" if family[-1].isdigit() else "-"


def _budget(name: str, size: str) -> dict[str, Scale | float]:
    if size in LETTERS:
        return {"scale": size}
    match = _BUDGET.fullmatch(size)
    if match is None:
        raise ConfigError(
            f"model '{name}': '{size}' after @ is no size: write a scale ({', '.join(LETTERS)} or 0 to 5), parameters "
            "(@2M) or FLOPs (@3G)"
        )
    key = {"": "scale", "M": "params_m", "G": "flops_g"}[match["unit"]]
    return {key: float(match["number"])}
