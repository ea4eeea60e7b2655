"""The search for layers in float, on a made-up AP: each layer loses its own points while it is in INT8."""

from __future__ import annotations

from ghostyolo.export.quantise.float_layers import Trial, choose, search

LAYERS = [f"layer{number}" for number in range(40)]


class Network:
    """A drop of AP that is the sum of what each layer in INT8 loses."""

    def __init__(self, **points: float) -> None:
        self.points = points
        self.ranked = 0

    def drop(self, kept: frozenset[str]) -> float:
        return sum(lost for layer, lost in self.points.items() if layer not in kept)

    def rank(self) -> list[str]:
        self.ranked += 1
        return sorted(LAYERS, key=lambda layer: -self.points.get(layer, 0.0))

    def search(self, max_drop: float, well_known: list[str]) -> list[Trial]:
        return search(self.drop, max_drop, well_known, self.rank)


def test_one_trial_is_enough_where_nothing_is_lost():
    network = Network(layer0=0.4)
    trials = network.search(1.0, ["layer0"])
    assert trials == [Trial(frozenset(), 0.4)]
    assert network.ranked == 0


def test_well_known_layers_come_second_and_nothing_is_ranked_for_them():
    network = Network(layer0=1.5, layer7=0.5)
    trials = network.search(1.0, ["layer0"])
    assert [trial.kept for trial in trials] == [frozenset(), frozenset({"layer0"})]
    assert choose(trials, 1.0).drop == 0.5
    assert network.ranked == 0


def test_sensitive_layers_are_added_by_doubling_and_then_halved():
    # Six layers of 0.5 points beside the well-known one: 4 of them must go for a drop of 1.0.
    network = Network(layer0=2.0, **{f"layer{number}": 0.5 for number in range(1, 7)})
    trials = network.search(1.0, ["layer0"])
    # 0, the well-known, 4 others (1.0 is allowed), then halving between 0 and 4: 2 (2.0) and 3 (1.5) are too few.
    assert [len(trial.kept) for trial in trials] == [0, 1, 5, 3, 4]
    assert [trial.drop for trial in trials] == [5.0, 3.0, 1.0, 2.0, 1.5]
    assert choose(trials, 1.0).kept == {"layer0", "layer1", "layer2", "layer3", "layer4"}
    assert network.ranked == 1


def test_halving_finds_fewer_layers():
    network = Network(**{f"layer{number}": 1.0 for number in range(6)})
    trials = network.search(0.5, [])
    # 4 (2.0 lost) is too few, 8 enough; between them 6 is enough, 5 is not.
    assert [len(trial.kept) for trial in trials] == [0, 4, 8, 6, 5]
    assert len(choose(trials, 0.5).kept) == 6


def test_search_ends_at_half_of_the_layers_and_gives_the_best_there_was():
    network = Network(**dict.fromkeys(LAYERS, 1.0))
    trials = network.search(1.0, ["layer39"])
    assert [len(trial.kept) for trial in trials] == [0, 1, 5, 9, 17, 20]
    assert choose(trials, 1.0).drop == 20.0


def test_a_gain_counts_as_no_drop():
    assert choose([Trial(frozenset(), -0.3)], 0.0).drop == -0.3
