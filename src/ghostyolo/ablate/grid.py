"""The declaration of a grid: what is compared with what. No torch.

It comes from a YAML file and from options:

task: classification                # or detection
data: my-classes
models: [ghostnetv3:width=0.5, torchvision:shufflenet_v2_x0_5]
seeds: [0, 1, 2]                    # or 3, which is the same
base: {recipe: cifar, epochs: 10}   # options of the command; cells change some of them
cells:
  CutMix: {augment: {cutmix: 1.0}}
  distillation: {teacher: big, alpha: 0.5}
  both: [CutMix, distillation]      # what these cells change, together
vary: {branches: [1, 2, 4]}         # each value alone against the base
product: {alpha: [0.1, 0.5], tau: [1, 4]}   # every combination
teachers:
  big: {model: resnet18, epochs: 30}
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from ghostyolo.config import Options, StrictModel, merge_options
from ghostyolo.errors import ConfigError, suggest
from ghostyolo.files import slug

Task = Literal["classification", "detection"]
BASE = "base"


class Grid(StrictModel):
    """A grid as it was declared.

    Attributes:
        task: which command trains: ``pretrain`` or ``train``.
        data: as the command takes it.
        models: label in the tables -> network.
        seeds: of every cell.
        base: options of the command that all cells share.
        cells: name -> what the cell changes; a list of names is what these change, in turn.
        vary: option -> values, each of which is a cell.
        product: option -> values, whose combinations are cells.
        teachers: name -> ``model`` and options; trained once each, with the grid's first seed unless they say ``seed``.
    """

    task: Task = "classification"
    data: str
    models: dict[str, str] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    base: Options = Field(default_factory=dict)
    cells: dict[str, Options | list[str]] = Field(default_factory=dict)
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    product: dict[str, list[Any]] = Field(default_factory=dict)
    teachers: dict[str, Options] = Field(default_factory=dict)

    @field_validator("models", mode="before")
    @classmethod
    def _names_are_labels(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {value: value}
        if isinstance(value, list):
            _refuse_doubles("model", value)
            return {str(name): name for name in value}
        return value

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_is_a_range(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return list(range(value))
        if isinstance(value, list):
            _refuse_doubles("seed", value)
            if any(isinstance(seed, int) and seed < 0 for seed in value):
                raise ValueError("a seed is 0 or more")
        return value

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "grid") -> Grid:
        """Validate a declaration.

        Raises:
            ConfigError: an unknown key, with the nearest valid one, a wrong type, or something that is missing.
        """
        for key in ("data", "models", "seeds"):
            if values.get(key) in (None, [], {}, 0):
                flag = {"data": "--data PATH", "models": "--model NAME", "seeds": "--seeds 3"}[key]
                raise ConfigError(f"{where}: no {key}: give {flag}, or '{key}' in the file")
        return super().from_dict(values, where)

    def changes(self) -> dict[str, Options]:
        """Name -> what each cell changes against the base, without the base itself.

        Raises:
            ConfigError: a name that two cells have, that is unknown in a list, or that is the base's.
        """
        found: dict[str, Options] = {}
        swept = itertools.chain(
            ({key: value} for key, values in self.vary.items() for value in values),
            (dict(zip(self.product, point, strict=True)) for point in itertools.product(*self.product.values())),
        )
        for name in self.cells:
            found[name] = self._cell(name, ())
        for options in swept:
            if options:
                name = ", ".join(f"{key}={_short(value)}" for key, value in options.items())
                if name in self.cells:
                    raise ConfigError(f"two cells are called '{name}': rename the one in 'cells'")
                found[name] = options
        folders: dict[str, str] = {}
        for name in found:
            if name == BASE:
                raise ConfigError(f"'{BASE}' is what all cells share: give it as 'base', and call the cell otherwise")
            other = folders.setdefault(slug(name), name)
            if other != name:
                raise ConfigError(f"the cells '{other}' and '{name}' would share one folder: rename one of them")
        if not found:
            raise ConfigError("nothing is compared with the base: give cells, --vary KEY=VALUE,VALUE or a product")
        return found

    def _cell(self, name: str, path: tuple[str, ...]) -> Options:
        entry = self.cells[name]
        if isinstance(entry, dict):
            return entry
        options: Options = {}
        for part in entry:
            if part not in self.cells:
                raise ConfigError(f"cell '{name}': there is no cell '{part}': {suggest(part, self.cells)}")
            if part in (*path, name):
                raise ConfigError(f"cell '{name}' is made of itself")
            options = merge_options(options, self._cell(part, (*path, name)))
        return options


def _refuse_doubles(what: str, values: Sequence[Any]) -> None:
    doubled = next((value for value in values if values.count(value) > 1), None)
    if doubled is not None:
        raise ValueError(f"the {what} {doubled} is there twice")


def _short(value: Any) -> str:
    return ", ".join(f"{key} {inner}" for key, inner in value.items()) if isinstance(value, dict) else f"{value}"
