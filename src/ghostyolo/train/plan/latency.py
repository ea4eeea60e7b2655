"""Chooses the network by the time that a picture may take on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ghostyolo.benchmark.budget import Budget
from ghostyolo.benchmark.build import Builder
from ghostyolo.benchmark.candidates import DEFAULT_ENGINE, Candidate
from ghostyolo.benchmark.compare import Settings
from ghostyolo.benchmark.fit import FitResult, fit
from ghostyolo.data.fingerprint import DataFingerprint
from ghostyolo.errors import ConfigError
from ghostyolo.train.plan.plan import Plan
from ghostyolo.train.plan.rules import STEP, wanted_imgsz

FAMILY = tuple(f"ghostyolo-{scale}" for scale in "pnsml")
_RUNS, _WARMUP = 10, 2


def fit_network(plan: Plan, data: DataFingerprint, tell: Callable[[str], None]) -> str:
    """Return the largest of the family that meets ``target_ms``.

    At the size that the data want, timed as an ONNX file.

    Where not even the smallest does, it takes smaller pictures. What is chosen was measured here, so another machine
    may choose otherwise.

    Args:
        tell: shows a line about what takes a while.

    Raises:
        ConfigError: nothing is fast enough; the nearest is named.
    """
    target = plan.asked.target_ms
    assert target is not None
    side = plan.asked.imgsz if plan.given("imgsz") else wanted_imgsz(data, STEP)[0]
    tell(f"measures which of {FAMILY[0]} to -{FAMILY[-1][-1]} takes at most {target:g} ms a picture here")
    result = _measure([(name, side) for name in FAMILY], target, data)
    if result.chosen is None and not plan.given("imgsz"):
        smaller = [size for size in range(side - STEP, 4 * STEP - 1, -STEP) if size >= side // 2]
        if smaller:
            result = _measure([(FAMILY[0], size) for size in smaller], target, data)
    row = result.chosen
    if row is None:
        nearest = result.nearest
        assert nearest is not None
        raise ConfigError(
            f"nothing takes at most {target:g} ms a picture on this machine; nearest is {nearest.model} at "
            f"{nearest.imgsz} px with {nearest.total_ms:.1f} ms: give a larger target_ms, or a smaller imgsz"
        )
    plan.choose("imgsz", row.imgsz, f"with it {row.total_ms:.1f} ms a picture; {target:g} were asked for")
    plan.choose("model", row.model, f"the largest within {target:g} ms on {row.engine}, {row.threads} threads")
    return row.model


def _measure(wanted: list[tuple[str, int]], target: float, data: DataFingerprint) -> FitResult:
    candidates = [Candidate(name, "network", name, DEFAULT_ENGINE, side) for name, side in wanted]
    classes = len(data.class_names)
    with tempfile.TemporaryDirectory(prefix="ghostyolo-plan-") as folder:
        return fit(
            candidates,
            Settings(runs=_RUNS, warmup=_WARMUP),
            Budget(target),
            Builder(Path(folder), classes=classes),
            classes=classes,
        )
