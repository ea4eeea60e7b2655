"""Decides which candidates ``fit`` measures, and which it names.

It measures nothing itself. Latency grows about as the work does (multiply-accumulates of the network at its picture
size), within one engine and precision. So the cheapest is measured first, then the largest that should still fit by the
nearest measurement, and so on upwards, until all that is more capable than the best one should miss the budget clearly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# A network is measured unless it should take this many times the budget. A single measurement is a rough guide to much
# larger ones: what every call costs, whatever its work, cannot be told from it.
SLACK, SLACK_FAR = 1.25, 2.0
NEAR = 1.5  # times the work
PRECISIONS = ("int8", "fp16", "fp32")  # by rising capability


@dataclass(frozen=True)
class Option:
    """Something that could be measured.

    Attributes:
        name: in words, for reasons.
        macs: multiply-accumulates of a picture at its size.
        precision: of the arithmetic.
        engine: that runs it.
    """

    name: str
    macs: float
    precision: str
    engine: str

    @property
    def capability(self) -> tuple[float, int]:
        """Return what to compare by: more is more capable.

        It is the work at the picture's size; of the same work, the finer arithmetic.
        """
        return self.macs, PRECISIONS.index(self.precision)

    @property
    def group(self) -> tuple[str, str]:
        """Latencies are comparable within it."""
        return self.engine, self.precision


@dataclass(frozen=True)
class Cost:
    """What a measurement gave.

    It is milliseconds from picture to boxes and peak MB (None where it is not known).
    """

    milliseconds: float
    memory_mb: float | None = None


@dataclass(frozen=True)
class Budget:
    """What an option may take."""

    milliseconds: float
    memory_mb: float | None = None

    def holds(self, cost: Cost) -> bool:
        """Whether a measurement is within the budget.

        Memory that is not known is not held against it.
        """
        if cost.milliseconds > self.milliseconds:
            return False
        return self.memory_mb is None or cost.memory_mb is None or cost.memory_mb <= self.memory_mb

    def excess(self, cost: Cost) -> float:
        """Return the largest share of a budget that a measurement takes.

        Above 1 it does not fit.
        """
        shares = [cost.milliseconds / self.milliseconds]
        if self.memory_mb is not None and cost.memory_mb is not None:
            shares.append(cost.memory_mb / self.memory_mb)
        return max(shares)


@dataclass
class Search:
    """What was measured and what was not.

    Attributes:
        costs: by position of the option.
        skipped: why the others were not measured, by position.
    """

    costs: dict[int, Cost] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)


def search(options: Sequence[Option], budget: Budget, measure: Callable[[int], Cost], *, every: bool = False) -> Search:
    """Measure as few options as it takes to find the most capable that fits.

    Args:
        options: what there is.
        budget: what one may take.
        measure: measures the option at a position.
        every: measure all that should fit, since capability does not decide (AP does).
    """
    found = Search()
    for group in dict.fromkeys(option.group for option in options):
        mine = [index for index, option in enumerate(options) if option.group == group]
        _search_group(options, sorted(mine, key=lambda index: options[index].capability), budget, measure, every, found)
    return found


def _search_group(
    options: Sequence[Option],
    order: list[int],
    budget: Budget,
    measure: Callable[[int], Cost],
    every: bool,
    found: Search,
) -> None:
    mine: dict[int, Cost] = {}
    waiting = list(order)
    while waiting:
        best = None if every else best_fit(options, found.costs, budget)
        worth = [index for index in waiting if best is None or options[index].capability >= options[best].capability]
        estimates = {index: _estimate(options, index, mine) for index in worth}
        hopeful = [index for index in worth if _may_fit(options, index, estimates[index], mine, budget)]
        if not hopeful:
            break
        choice = _choose(hopeful, estimates, budget, every)
        waiting.remove(choice)
        mine[choice] = found.costs[choice] = measure(choice)
    best = None if every else best_fit(options, found.costs, budget)
    for index in waiting:
        estimate = _estimate(options, index, mine)
        if best is not None and options[index].capability < options[best].capability:
            found.skipped[index] = f"less capable than {options[best].name}, which fits"
        else:
            found.skipped[index] = f"about {estimate or 0:.0f} ms expected from the nearest measured"


def _choose(hopeful: list[int], estimates: dict[int, float | None], budget: Budget, every: bool) -> int:
    """The cheapest where nothing is known or all are wanted, else the largest that should fit, else the nearest."""
    if every or all(estimate is None for estimate in estimates.values()):
        return hopeful[0]
    fitting = [index for index in hopeful if (estimates[index] or 0) <= budget.milliseconds]
    return fitting[-1] if fitting else min(hopeful, key=lambda index: estimates[index] or 0)


def _may_fit(
    options: Sequence[Option], index: int, estimate: float | None, measured: dict[int, Cost], budget: Budget
) -> bool:
    if estimate is None:
        return True
    guided = len(measured) > 1 or any(options[index].macs <= NEAR * options[other].macs for other in measured)
    return estimate <= (SLACK if guided else SLACK_FAR) * budget.milliseconds


def _estimate(options: Sequence[Option], index: int, measured: dict[int, Cost]) -> float | None:
    """Milliseconds by the two measured options whose work is nearest; None where none is measured.

    From one alone, time goes with work. With two, it goes along their line, but neither against the work nor faster
    than it.
    """
    if not measured:
        return None
    macs = options[index].macs
    near, *others = sorted(measured, key=lambda other: abs(options[other].macs - macs))
    by_work = measured[near].milliseconds * macs / options[near].macs
    second = next((other for other in others if options[other].macs != options[near].macs), None)
    if second is None:
        return by_work
    slope = (measured[near].milliseconds - measured[second].milliseconds) / (options[near].macs - options[second].macs)
    along = measured[near].milliseconds + slope * (macs - options[near].macs)
    low, high = sorted((measured[near].milliseconds, by_work))
    return min(max(along, low), high)


def best_fit(
    options: Sequence[Option],
    costs: dict[int, Cost],
    budget: Budget,
    accuracies: dict[int, float] | None = None,
) -> int | None:
    """Return the most capable that fits.

    AP decides where it is known of all that fit, else capability; then the time.
    """
    fitting = [index for index, cost in costs.items() if budget.holds(cost)]
    if not fitting:
        return None
    if accuracies is not None:
        fitting = [index for index in fitting if index in accuracies] or fitting
        return max(fitting, key=lambda index: (accuracies.get(index, -1.0), -costs[index].milliseconds))
    return max(fitting, key=lambda index: (*options[index].capability, -costs[index].milliseconds))


def nearest_miss(costs: dict[int, Cost], budget: Budget) -> int:
    """Of measurements that do not fit, the one that exceeds the budget least."""
    return min(costs, key=lambda index: budget.excess(costs[index]))
