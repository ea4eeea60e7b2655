"""The plan of a training: chosen settings, their reasons and their ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import BaseModel
from rich.console import Console

from ghostyolo.config import Options, merge_options, spread_dots
from ghostyolo.train.recipe import TrainRecipe

PLAN = "plan.yaml"
MOST_LINES = 15
GIVEN = "given"


@dataclass(frozen=True)
class Choice:
    """A setting, its value and the reason.

    Of one that was given the reason is ``given``.

    Attributes:
        name: as in a recipe, with dots; or ``model``.
        shown: it has a place in the printed plan; all stand in the file.
    """

    name: str
    value: Any
    reason: str
    shown: bool = True


@dataclass
class Plan:
    """Settings that are chosen one after the other, those given first.

    Attributes:
        asked: the recipe as it was given; what it says is not chosen.
        choices: by name, in the order in which they were made.
        notes: lines about what follows and is no setting.
        seen: plain values that the plan rests on, by title.
    """

    asked: TrainRecipe
    choices: dict[str, Choice] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)

    def choose(self, name: str, value: Any, reason: str, *, shown: bool = True) -> Any:
        """Take a value, unless another was given; return the one that holds."""
        given, held = _given(self.asked, name)
        choice = Choice(name, held, GIVEN, shown) if given else Choice(name, value, reason, shown)
        self.choices[name] = choice
        return choice.value

    def replace(self, name: str, value: Any, reason: str) -> None:
        """Put a better founded value in the place of a choice."""
        self.choices[name] = Choice(name, value, reason)

    def given(self, name: str) -> bool:
        """Whether the caller has settled a setting."""
        return _given(self.asked, name)[0]

    def options(self) -> Options:
        """The settings of a recipe that were chosen."""
        chosen = {name: choice.value for name, choice in self.choices.items() if choice.reason != GIVEN}
        chosen.pop("model", None)
        return spread_dots(chosen)

    def recipe(self) -> TrainRecipe:
        """The recipe with all that has been chosen so far."""
        asked = self.asked.model_dump(exclude_unset=True)
        return TrainRecipe.from_dict(merge_options(self.options(), asked), "plan")

    def lines(self) -> list[str]:
        """A line for each choice that is shown, and the notes.

        At most fifteen; the first says where the rest stands.
        """
        shown = [choice for choice in self.choices.values() if choice.shown]
        names = max((len(choice.name) for choice in shown), default=0)
        values = max((len(_text(choice.value)) for choice in shown), default=0)
        table = [f"  {choice.name:<{names}}  {_text(choice.value):<{values}}  {choice.reason}" for choice in shown]
        rows = [*table, *(f"  {note}" for note in self.notes)][: MOST_LINES - 1]
        return [f"plan (all of it in {PLAN}; every value can be given, --set plan=false takes none):", *rows]

    def to_yaml(self) -> str:
        """The plan with its reasons, and what it rests on."""
        values = {
            "plan": {choice.name: {"value": choice.value, "why": choice.reason} for choice in self.choices.values()},
            "notes": self.notes,
            **self.seen,
        }
        return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))


def print_plan(console: Console, plan: Plan) -> None:
    """Show a plan."""
    for line in plan.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _given(recipe: BaseModel, name: str) -> tuple[bool, Any]:
    """Whether a recipe was given a value by this name, and the value."""
    place: Sequence[str] = name.split(".")
    held: Any = recipe
    for part in place:
        if part not in type(held).model_fields or part not in held.model_fields_set:
            return False, None
        held = getattr(held, part)
    return True, held


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
