"""Times become figures: medians, 95th percentiles, paired ratios; and who runs when."""

from __future__ import annotations

import pytest

from ghostyolo.benchmark.interleave import BURST, burst_sizes, interleave, paired_ratio, turns
from ghostyolo.runtime.timing import Call, summarise


def test_median_and_p95_are_of_the_network_and_of_all_three_steps():
    # Inference 1..21; the order does not matter. p95 lies at index 19 of 0..20: the 20th value.
    calls = [Call(preprocess=2, inference=value, postprocess=0.5) for value in reversed(range(1, 22))]
    timing = summarise(calls, batch=4)
    assert (timing.median_ms, timing.p95_ms) == (11, 20)
    assert (timing.preprocess_ms, timing.postprocess_ms) == (2, 0.5)
    assert (timing.total_ms, timing.total_p95_ms) == (13.5, 22.5)
    assert timing.images_per_second == pytest.approx(1000 * 4 / 13.5)
    assert (timing.batch, timing.runs) == (4, 21)


def test_one_call_is_its_own_median_and_p95():
    timing = summarise([Call(1, 2, 3)], batch=1)
    assert (timing.median_ms, timing.p95_ms, timing.total_ms, timing.runs) == (2, 2, 6, 1)


def test_a_slow_phase_of_the_machine_does_not_change_the_ratio():
    # Twice as slow in the second round, both of them: the ratio stays 1.5, that of all medians would be 1.0.
    mine, reference = [[15.0, 15.0], [30.0, 90.0, 30.0]], [[10.0, 10.0], [20.0, 20.0, 20.0]]
    assert paired_ratio(mine, reference) == 1.5
    assert paired_ratio(reference, reference) == 1.0


@pytest.mark.parametrize("runs", [1, 2, 4, 5, 6, 11, 50, 51])
def test_bursts_are_even_and_give_the_number_of_runs(runs):
    sizes = burst_sizes(runs)
    assert sum(sizes) == runs
    assert max(sizes) <= BURST
    assert max(sizes) - min(sizes) <= 1


def test_each_model_has_each_turn_equally_often():
    rounds = [turns(3, number) for number in range(3)]
    assert rounds == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    assert turns(1, 7) == [0]


class Scripted:
    """Writes down its calls in a shared log; every call takes as many milliseconds as have been made by it."""

    def __init__(self, name: str, log: list[tuple[str, int]], joules: float | None = None) -> None:
        self.name, self.log, self.joules, self.made = name, log, joules, 0

    def calls(self, count: int):
        self.log.append((self.name, count))
        timed = [Call(0, self.made + number, 0) for number in range(count)]
        self.made += count
        return timed, None if self.joules is None else self.joules * count


def test_models_take_turns_after_an_untimed_call_each():
    log: list[tuple[str, int]] = []
    progress: list[int] = []
    found = interleave([Scripted("a", log), Scripted("b", log)], runs=6, warmup=3, progress=progress.append)
    warm, first = [("a", 3), ("b", 3)], [("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    second = [("b", 1), ("b", 3), ("a", 1), ("a", 3)]
    assert log == [*warm, *first, *second]
    assert progress == [3, 6, 9, 12]
    # Calls 0 to 2 warm up; 3 and 7 lead a burst: none of them is among the timed ones.
    assert [[call.inference for call in burst] for burst in found[0].bursts] == [[4, 5, 6], [8, 9, 10]]
    assert len(found[1].calls) == 6


def test_a_model_alone_runs_without_gaps():
    log: list[tuple[str, int]] = []
    (found,) = interleave([Scripted("a", log)], runs=7, warmup=0)
    assert log == [("a", 3), ("a", 2), ("a", 2)]
    assert len(found.calls) == 7


def test_joules_are_summed_over_the_timed_calls_and_unknown_where_they_cannot_be_counted():
    log: list[tuple[str, int]] = []
    counted, unknown = interleave([Scripted("a", log, joules=0.5), Scripted("b", log)], runs=10, warmup=2)
    assert counted.joules == 5.0
    assert unknown.joules is None
