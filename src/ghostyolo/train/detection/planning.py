"""What a detector's training is to be like, where nobody said it."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path

from rich.console import Console

from ghostyolo.config import Options
from ghostyolo.data.fingerprint import take_fingerprint
from ghostyolo.data.records import DetectionData
from ghostyolo.data.sampler import EvenBatches
from ghostyolo.errors import ConfigError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.count import try_count_macs
from ghostyolo.models.detector import DetectionModel, resolve_config
from ghostyolo.models.registry import find_part
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.weights import start_weights
from ghostyolo.train.detection.fit import make_schedule, training_sampler
from ghostyolo.train.detection.pace import Clock, measure_pace
from ghostyolo.train.plan.latency import fit_network
from ghostyolo.train.plan.machine import look_at_machine
from ghostyolo.train.plan.plan import Plan
from ghostyolo.train.plan.probe import LEAST_STEPS, SHARE, Train, candidates, first_round, settle
from ghostyolo.train.plan.rules import NetworkFacts, branches, epochs_in_time, mosaic, plan_training, usual_network
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.schedule import Schedule

START = "start"  # as weights: those that the network ships with

Model = str | Path | DetectorConfig | None


def refuse_contradictions(recipe: TrainRecipe, given: Options, model: Model) -> None:
    """Stop where two of the given settings cannot both hold.

    Args:
        given: settings by name, as the caller has them.

    Raises:
        ConfigError: see above.
    """
    unplanned = next((name for name in ("target_ms", "probe") if getattr(recipe, name) and not recipe.plan), None)
    if unplanned is not None:
        raise ConfigError(f"{unplanned} is a part of the plan: leave plan=false out")
    if recipe.qat and (recipe.target_ms or recipe.probe):
        raise ConfigError("qat goes on with the weights' network and its own settings: leave target_ms and probe out")
    if recipe.target_ms is not None and (model is not None or recipe.weights is not None):
        raise ConfigError("target_ms chooses the network, and the model or weights are given: leave one out")
    if recipe.minutes is not None and "epochs" in given:
        raise ConfigError("minutes and epochs are both given, and each says how long to train: leave one out")
    if recipe.minutes is not None and recipe.qat:
        raise ConfigError("qat is a run of a few epochs at a small rate: leave minutes out, or give epochs")
    # Each process plans for itself, and they must come to the same.
    measured = {"minutes": "give epochs", "target_ms": "give a model", "probe": "leave it out"}
    asked = next((name for name in measured if getattr(recipe, name)), None)
    if asked is not None and recipe.devices * recipe.num_nodes > 1:
        raise ConfigError(f"{asked} measures on one device: {measured[asked]} where several train together")


class Planner:
    """Makes the plan of a run in two parts.

    The network is the first; when it is built, its training is the second.

    Attributes:
        plan: as far as it was made.
    """

    def __init__(
        self,
        asked: TrainRecipe,
        data: DetectionData,
        console: Console | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        """``asked``: the recipe as it was given; ``clock``: see :func:`measure_pace`."""
        self.plan, self.data, self.clock = Plan(asked), data, clock
        self.fingerprint = take_fingerprint(data)
        self._console = console or Console(quiet=True)

    def choose_network(self, model: Model) -> tuple[Model, TrainRecipe]:
        """The network and the recipe to build it with."""
        plan, asked = self.plan, self.plan.asked
        if asked.weights is not None and model is None:
            return None, asked  # weights say what they are of
        if model is None:
            usual = asked.target_ms is None
            model = usual_network(plan) if usual else fit_network(plan, self.fingerprint, self._tell)
        config = resolve_config(model)
        has_start = start_weights(config.name) is not None and asked.backbone_weights is None
        if has_start:
            plan.choose("weights", START, f"the start weights of {config.name}; --weights none starts from zero")
        else:
            plan.choose("weights", None, f"'{config.name}' has no start weights: it starts from zero")
        if "branches" in find_part("backbone", config.backbone.type).parameters:
            branches(plan)
        return model, plan.recipe()

    def choose_training(
        self, network: DetectionModel, recipe: TrainRecipe, metadata: ModelMetadata, learns_anew: bool
    ) -> TrainRecipe:
        """The whole recipe, for a network that was built as :meth:`choose_network` said.

        Args:
            recipe: that it was built with; where nothing is planned but the epochs, the one that holds.
            metadata: the network's.
            learns_anew: its weights know nothing of some class.
        """
        plan, data = self.plan, self.data
        measure = partial(measure_pace, network, metadata, data, clock=self.clock)
        fingerprint, machine = self.fingerprint, look_at_machine(plan.asked)
        if plan.asked.plan:
            macs = try_count_macs(fold(network.eval()), 640, network.in_channels)
            facts = NetworkFacts(network.stride, None if macs is None else macs / 1e9)
            plan_training(plan, fingerprint, machine, facts, self._shown, measure)
        else:
            plan.asked = recipe
            epochs_in_time(plan, fingerprint.val_pictures, measure)
        plan.seen |= {"data": fingerprint.model_dump(mode="json"), "machine": machine.model_dump(mode="json")}
        self._learns_anew, self._metadata = learns_anew, metadata
        return plan.recipe()

    def probe(self, train: Train) -> TrainRecipe:
        """Settle by short trainings what the fingerprints left open; the recipe with it.

        Args:
            train: makes a short training.

        Raises:
            ConfigError: there is nothing to compare on.
        """
        plan = self.plan
        if not self.data.splits.get("val"):
            raise ConfigError(f"probe compares on the val split, and {self.data.root} has none: leave probe out")
        recipe, schedule = plan.recipe(), self._schedule()
        changes = candidates(plan, schedule.peak_lr)
        length = first_round(recipe.epochs, len(changes))
        if not changes or length * schedule.steps_per_epoch < LEAST_STEPS:
            plan.notes.append(f"probe: left out, {100 * SHARE:.0f} % of the run are too short to compare anything")
            return recipe
        verdict = settle(changes, length, train, lambda trial: self._tell(f"probe: {trial}"))
        for name, (value, score, other) in verdict.taken.items():
            plan.replace(
                name, value, f"probe: AP {score:.3f}, as planned {other:.3f}, seeds differ by {verdict.noise:.3f}"
            )
        if not verdict.taken:
            plan.notes.append(f"probe: nothing is ahead of the plan by more than seeds differ, {verdict.noise:.3f}")
        if not plan.given("epochs"):
            left = max(1, round((1 - SHARE) * recipe.epochs))
            plan.replace(
                "epochs", left, f"{plan.choices['epochs'].reason}; {100 * SHARE:.0f} % of it went to the probe"
            )
            mosaic(plan, self._shown(plan.recipe()))
        plan.seen["probe"] = {"noise": verdict.noise, "trials": [str(trial) for trial in verdict.trials]}
        return plan.recipe()

    def finish(self) -> Plan:
        """Return the plan with what its number of steps leads to."""
        schedule, batch = self._schedule(), self.plan.recipe().batch
        self.plan.notes.append(
            f"{schedule.optimizer} at {schedule.peak_lr:g}, {schedule.warmup_steps} of {schedule.total_steps} batches "
            f"to warm up, {schedule.accumulation * batch} pictures a step, average over the last tenth"
        )
        self.plan.seen["schedule"] = dataclasses.asdict(schedule)
        return self.plan

    def _schedule(self) -> Schedule:
        recipe = self.plan.recipe()
        batches = EvenBatches(training_sampler(self.data, recipe)(), recipe.batch)
        return make_schedule(self._metadata, self.data, recipe, self._learns_anew, len(batches))

    def _shown(self, recipe: TrainRecipe) -> int:
        return len(training_sampler(self.data, recipe)())

    def _tell(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
