"""``fit`` decides what to measure and what to name, on machines whose latencies are given here."""

from __future__ import annotations

import pytest

from ghostyolo.benchmark.budget import Budget, Cost, Option, best_fit, nearest_miss, search


def option(macs: float, engine: str = "onnxruntime", precision: str = "fp32") -> Option:
    return Option(f"{macs} G", macs, precision, engine)


class Machine:
    """Takes ``base + slope * macs`` milliseconds on an engine, and remembers what it was asked."""

    def __init__(self, options, slopes, base=0.0, memory=None):
        self.options, self.slopes, self.base, self.memory = options, slopes, base, memory or {}
        self.measured: list[int] = []

    def __call__(self, index: int) -> Cost:
        self.measured.append(index)
        chosen = self.options[index]
        return Cost(self.base + self.slopes[chosen.engine] * chosen.macs, self.memory.get(index))


MACS = (0.5, 1, 2, 4, 8, 16, 32)


def test_the_cheapest_comes_first_and_what_cannot_fit_is_never_measured():
    options = [option(macs) for macs in MACS]
    machine = Machine(options, {"onnxruntime": 10.0})
    found = search(options, Budget(50), machine)
    assert machine.measured[0] == 0
    assert best_fit(options, found.costs, Budget(50)) == 3  # 4 G take 40 ms, 8 G would take 80
    assert set(machine.measured) == {0, 3}
    assert "less capable than 4 G" in found.skipped[1]
    assert "about 80 ms" in found.skipped[4]
    assert set(found.costs) | set(found.skipped) == set(range(len(MACS)))


@pytest.mark.parametrize("target", [6, 11, 14, 33, 100, 1000])
def test_the_choice_is_that_of_measuring_everything(target):
    options = [option(macs, engine) for engine in ("onnxruntime", "openvino") for macs in MACS]
    machine = Machine(options, {"onnxruntime": 3.0, "openvino": 2.5}, base=4.0)
    budget = Budget(target)
    found = search(options, budget, machine)
    everything = {index: Machine(options, machine.slopes, 4.0)(index) for index in range(len(options))}
    assert best_fit(options, found.costs, budget) == best_fit(options, everything, budget)
    assert len(machine.measured) == len(set(machine.measured))


def test_constant_costs_of_small_networks_do_not_hide_large_ones():
    # 0.1 G takes 10.1 ms; by that alone 0.45 G would take 45 ms, and takes 10.45.
    options = [option(0.1), option(0.45)]
    machine = Machine(options, {"onnxruntime": 1.0}, base=10.0)
    assert best_fit(options, search(options, Budget(25), machine).costs, Budget(25)) == 1


def test_nothing_fits_after_one_measurement_and_the_nearest_is_named():
    options = [option(macs) for macs in (1, 4, 8)]
    machine = Machine(options, {"onnxruntime": 10.0})
    found = search(options, Budget(2), machine)
    assert machine.measured == [0]
    assert best_fit(options, found.costs, Budget(2)) is None
    assert nearest_miss(found.costs, Budget(2)) == 0


def test_memory_is_a_budget_too():
    options = [option(1), option(2)]
    budget = Budget(100, memory_mb=50)
    found = search(options, budget, Machine(options, {"onnxruntime": 1.0}, memory={0: 40.0, 1: 60.0}))
    assert set(found.costs) == {0, 1}
    assert best_fit(options, found.costs, budget) == 0
    assert not budget.holds(Cost(1, 60))
    assert budget.holds(Cost(1, None))
    assert nearest_miss({0: Cost(300, 40), 1: Cost(50, 100)}, budget) == 1  # three times the time, twice the memory


def test_of_equal_work_the_finer_arithmetic_and_then_the_faster_engine_is_named():
    budget = Budget(100)
    options = [option(2, precision="int8"), option(2), option(2, "openvino")]
    costs = {0: Cost(5), 1: Cost(20), 2: Cost(15)}
    assert best_fit(options, costs, budget) == 2
    assert best_fit(options, {0: Cost(5), 1: Cost(120), 2: Cost(120)}, budget) == 0


def test_ap_decides_where_it_is_known_and_speed_between_equals():
    options = [option(1), option(2), option(3), option(4)]
    costs = {0: Cost(10), 1: Cost(20), 2: Cost(15), 3: Cost(90)}
    assert best_fit(options, costs, Budget(50), {0: 0.5, 1: 0.4, 2: 0.3}) == 0
    assert best_fit(options, costs, Budget(50), {0: 0.4, 1: 0.5, 2: 0.5}) == 2


def test_where_ap_decides_everything_that_should_fit_is_measured():
    options = [option(macs) for macs in MACS]
    machine = Machine(options, {"onnxruntime": 10.0})
    found = search(options, Budget(50), machine, every=True)
    assert machine.measured == [0, 1, 2, 3]
    assert set(found.skipped) == {4, 5, 6}
