"""The lines of a grid's table: means, differences and verdicts. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ghostyolo.ablate.grid import BASE
from ghostyolo.ablate.statistics import Difference, differences_to_base, holm, verdict
from ghostyolo.ablate.tasks import Figures

Epoch = Literal["last", "best"]


@dataclass(frozen=True)
class Result:
    """A finished run."""

    model: str
    cell: str
    seed: int
    figures: Figures


@dataclass(frozen=True)
class Line:
    """A cell of a model. Scores are in points of 100.

    Attributes:
        values: seed -> score.
        second: mean of the second score.
        deviation: of the seeds, with n - 1; None with one.
        difference: to the base; None for the base, and where they share no seed.
        adjusted_p: Holm's, over the cells of this model.
        verdict: "base", or what the difference shows.
        cost: training time of a picture, as a multiple of the base's: the median over seeds; None where unknown.
    """

    model: str
    cell: str
    values: dict[int, float]
    mean: float
    deviation: float | None
    second: float | None
    difference: Difference | None
    adjusted_p: float | None
    verdict: str
    cost: float | None
    params_deployed: int | None
    macs_deployed: int | None


def make_lines(results: Sequence[Result], scores: tuple[str, str], epoch: Epoch = "last") -> list[Line]:
    """Make one line for each cell of each model.

    Those without a finished run are left out; the order is that of the results.
    """
    cells: dict[tuple[str, str], dict[int, Figures]] = {}
    for result in results:
        cells.setdefault((result.model, result.cell), {})[result.seed] = result.figures
    found: dict[tuple[str, str], Difference] = {}
    for model in dict.fromkeys(model for model, _ in cells):
        points = {
            cell: _points(by_seed, scores[0], epoch) for (owner, cell), by_seed in cells.items() if owner == model
        }
        found |= {(model, cell): gap for cell, gap in differences_to_base(points, BASE).items()}
    adjusted = _adjusted(found)
    lines = []
    for (model, cell), by_seed in cells.items():
        values = _points(by_seed, scores[0], epoch)
        second = list(_points(by_seed, scores[1], epoch).values())
        difference = found.get((model, cell))
        said = "base" if cell == BASE else "no base to compare with"
        if difference is not None:
            said = verdict(difference, adjusted.get((model, cell)))
        one = next(iter(by_seed.values()))
        lines.append(
            Line(
                model=model,
                cell=cell,
                values=values,
                mean=statistics.mean(values.values()),
                deviation=statistics.stdev(values.values()) if len(values) > 1 else None,
                second=statistics.mean(second) if second else None,
                difference=difference,
                adjusted_p=adjusted.get((model, cell)),
                verdict=said,
                cost=_cost(by_seed, cells.get((model, BASE), {})),
                params_deployed=one.params_deployed,
                macs_deployed=one.macs_deployed,
            )
        )
    return lines


def result_json(result: Result) -> dict[str, Any]:
    """A run as plain values."""
    return {"model": result.model, "cell": result.cell, "seed": result.seed, **asdict(result.figures)}


def _points(by_seed: Mapping[int, Figures], score: str, epoch: Epoch) -> dict[int, float]:
    found = {seed: getattr(figures, epoch).get(score) for seed, figures in sorted(by_seed.items())}
    return {seed: 100 * value for seed, value in found.items() if value is not None}


def _adjusted(found: Mapping[tuple[str, str], Difference]) -> dict[tuple[str, str], float]:
    """The cells of one model are one family of comparisons."""
    adjusted: dict[tuple[str, str], float] = {}
    for model in {model for model, _ in found}:
        p_values = {
            key: difference.p for key, difference in found.items() if key[0] == model and difference.p is not None
        }
        adjusted |= dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return adjusted


def _cost(mine: Mapping[int, Figures], base: Mapping[int, Figures]) -> float | None:
    ratios = []
    for seed, figures in mine.items():
        other = base.get(seed)
        if other is not None and figures.images_per_second and other.images_per_second:
            ratios.append(other.images_per_second / figures.images_per_second)
    return statistics.median(ratios) if ratios else None
