"""Lines of the table from figures of runs, the picture and the files."""

from __future__ import annotations

import pytest

from ghostyolo.ablate.report import draw
from ghostyolo.ablate.table import Result, make_lines
from ghostyolo.ablate.tasks import Figures

SCORES = ("top1", "top5")


def result(model: str, cell: str, seed: int, top1: float, speed: float = 100.0, best: float = 0.9) -> Result:
    return Result(model, cell, seed, Figures({"top1": top1}, {"top1": best}, speed, 1.0, 10, 20))


def test_differences_are_paired_by_seed_and_in_points() -> None:
    results = [result("m", "base", seed, 0.5 + 0.1 * seed) for seed in range(3)]
    results += [result("m", "cell", seed, 0.5 + 0.1 * seed + gap, 50) for seed, gap in ((0, 0.01), (2, 0.03), (9, 1))]
    base, cell = make_lines(results, SCORES)
    assert (base.verdict, base.difference, base.cost) == ("base", None, 1.0)
    assert (base.mean, base.deviation) == (pytest.approx(60), pytest.approx(10))
    assert cell.difference.pairs == 2  # the base has no seed 9
    assert cell.difference.mean == pytest.approx(2)
    assert cell.cost == 2
    assert cell.second is None


def test_verdicts_are_corrected_within_a_model() -> None:
    """p = 0.030 in a model of one cell shows something; the smaller of two p is doubled, here to more than 0.05."""
    gaps = (0.010, 0.012, 0.018)
    base = [result(model, "base", seed, 0.5) for model in "ab" for seed in range(3)]
    cells = [result(model, "cell", seed, 0.5 + gap) for model in "ab" for seed, gap in enumerate(gaps)]
    other = [result("b", "other", seed, 0.5 + gap) for seed, gap in enumerate((0.01, -0.01, 0.02))]
    lines = {(line.model, line.cell): line for line in make_lines([*base, *cells, *other], SCORES)}
    alone, beside = lines["a", "cell"], lines["b", "cell"]
    assert alone.difference.mean == pytest.approx(beside.difference.mean)
    assert alone.adjusted_p == alone.difference.p == pytest.approx(0.0302, abs=1e-3)
    assert beside.difference.p < lines["b", "other"].difference.p
    assert beside.adjusted_p == pytest.approx(2 * beside.difference.p)
    assert (alone.verdict, beside.verdict) == ("helps", "no difference shown")
    assert lines["b", "other"].verdict == "no difference shown"


def test_without_a_base_and_with_one_seed_nothing_is_claimed() -> None:
    assert make_lines([], SCORES) == []
    (line,) = make_lines([result("m", "cell", 0, 0.4)], SCORES)
    assert (line.verdict, line.deviation, line.cost) == ("no base to compare with", None, None)
    _, line = make_lines([result("m", "base", 0, 0.3), result("m", "cell", 0, 0.4)], SCORES)
    assert line.verdict == "one seed: nothing can be said"
    assert line.difference.mean == pytest.approx(10)


def test_best_epochs_can_be_compared_instead() -> None:
    results = [result("m", "base", 0, 0.3), result("m", "cell", 0, 0.4, best=0.95)]
    assert make_lines(results, SCORES, "best")[1].difference.mean == pytest.approx(5)


def test_the_picture_takes_any_part_of_a_grid(tmp_path) -> None:
    results = [result("a", "base", 0, 0.3), result("a", "cell", 0, 0.4), result("b", "cell", 1, 0.2)]
    results += [result("a", "base", 1, 0.31), result("a", "cell", 1, 0.43)]
    draw(make_lines(results, SCORES), tmp_path / "a.png", "top-1", "conditions")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
