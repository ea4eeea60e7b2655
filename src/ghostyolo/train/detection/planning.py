"""What a detector's training is to be like, where nobody said it."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path

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
from ghostyolo.train.plan.machine import look_at_machine
from ghostyolo.train.plan.plan import Plan
from ghostyolo.train.plan.rules import NetworkFacts, branches, epochs_in_time, plan_training, usual_network
from ghostyolo.train.recipe import TrainRecipe

START = "start"  # as weights: those that the network ships with

Model = str | Path | DetectorConfig | None


def refuse_contradictions(recipe: TrainRecipe, given: Options) -> None:
    """Stop where two of the given settings cannot both hold.

    Raises:
        ConfigError: see above.
    """
    if recipe.minutes is None:
        return
    if "epochs" in given:
        raise ConfigError("minutes and epochs are both given, and each says how long to train: leave one out")
    if recipe.qat:
        raise ConfigError("qat is a run of a few epochs at a small rate: leave minutes out, or give epochs")
    if recipe.devices * recipe.num_nodes > 1:
        raise ConfigError("minutes are measured on one device: give epochs where several train together")


class Planner:
    """Makes the plan of a run in two parts.

    The network is the first; when it is built, its training is the second.

    Attributes:
        plan: as far as it was made.
    """

    def __init__(self, asked: TrainRecipe, data: DetectionData, clock: Clock = time.perf_counter) -> None:
        """``asked``: the recipe as it was given; ``clock``: see :func:`measure_pace`."""
        self.plan, self.data, self.clock = Plan(asked), data, clock

    def choose_network(self, model: Model) -> tuple[Model, TrainRecipe]:
        """The network and the recipe to build it with."""
        plan, asked = self.plan, self.plan.asked
        if asked.weights is not None and model is None:
            return None, asked  # weights say what they are of
        if model is None:
            model = usual_network(plan)
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

        def shown(recipe: TrainRecipe) -> int:
            return len(training_sampler(data, recipe)())

        fingerprint, machine = take_fingerprint(data), look_at_machine(plan.asked)
        if plan.asked.plan:
            macs = try_count_macs(fold(network.eval()), 640, network.in_channels)
            facts = NetworkFacts(network.stride, None if macs is None else macs / 1e9)
            plan_training(plan, fingerprint, machine, facts, shown, measure)
        else:
            plan.asked = recipe
            epochs_in_time(plan, fingerprint.val_pictures, measure)
        recipe = plan.recipe()
        batches = EvenBatches(training_sampler(data, recipe)(), recipe.batch)
        schedule = make_schedule(metadata, data, recipe, learns_anew, len(batches))
        plan.notes.append(
            f"{schedule.optimizer} at {schedule.peak_lr:g}, {schedule.warmup_steps} of {schedule.total_steps} batches "
            f"to warm up, {schedule.accumulation * recipe.batch} pictures a step, average over the last tenth"
        )
        plan.seen |= {
            "schedule": dataclasses.asdict(schedule),
            "data": fingerprint.model_dump(mode="json"),
            "machine": machine.model_dump(mode="json"),
        }
        return recipe
