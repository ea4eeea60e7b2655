"""Scores of a live network, and of the best weights at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import nn

from ghostyolo.data.images import read_image
from ghostyolo.data.records import DetectionData, ImageRecord
from ghostyolo.errors import GhostYoloError, TrainingError, WeightsError
from ghostyolo.evaluate import EvaluationResult, Metrics, evaluate
from ghostyolo.evaluate.report import Report, print_report
from ghostyolo.evaluate.worst_pictures import PAGE as WORST
from ghostyolo.files import write_json
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.weights import rewrite_metadata
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.engines.torch import TorchEngine
from ghostyolo.runtime.predictor import Predictor
from ghostyolo.text import printable
from ghostyolo.train.epoch_end import BEST
from ghostyolo.train.loop import Finished
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.state import RunState

log = logging.getLogger(__name__)

_CACHE_BYTES = 1 << 30
SCORES = ("AP", "AP50", "AP75", "AR100")


class Validator:
    """An evaluation of networks on one split, in rectangular batches.

    It keeps decoded pictures, up to 1 GiB.

    Args:
        records: the split.
        class_names: of the data set.
        metadata: of the network.
        batch: pictures in one call of the network.
        cache: keep pictures in memory.

    Attributes:
        skipped: pictures that could not be read, as (path, reason).
    """

    main_score = "AP"

    def __init__(
        self,
        records: Sequence[ImageRecord],
        class_names: Sequence[str],
        metadata: ModelMetadata,
        *,
        batch: int,
        cache: bool,
    ) -> None:
        self.records, self.class_names, self.metadata, self.batch = records, class_names, metadata, batch
        self.skipped: list[tuple[Path, str]] = []
        self._room = _CACHE_BYTES if cache else 0
        self._pictures: dict[Path, npt.NDArray[np.uint8]] = {}

    def run(self, model: nn.Module, device: torch.device) -> EvaluationResult:
        """Evaluate a network, left as it is (branches are folded in a copy).

        Raises:
            TrainingError: its outputs are not numbers.
            DataError: no picture of the split can be read.
        """
        engine = TorchEngine(fold(model).eval(), self.metadata, device)
        try:
            result = evaluate(
                Predictor(engine),
                self.records,
                self.class_names,
                batch=self.batch,
                load_image=self.load_image,
            )
        except WeightsError as error:
            raise TrainingError(f"training has diverged ({error}): the last good weights are kept; lower lr") from error

        # A picture that cannot be read is said once, not at every epoch.
        self.skipped += result.skipped
        self.records = result.records if result.skipped else self.records
        return result

    def scores(self, model: nn.Module, device: torch.device) -> dict[str, float | None]:
        """The scores that are logged after an epoch; see :meth:`run`."""
        metrics = self.run(model, device).metrics.to_json()
        return {name: metrics[name] for name in SCORES}

    def load_image(self, record: ImageRecord) -> npt.NDArray[np.uint8]:
        """A record's picture, (H, W, C) uint8, from memory where it is there."""
        picture = self._pictures.get(record.path)
        if picture is None:
            picture = read_image(record.path, self.metadata.in_channels, record.pixel_range)
            if picture.nbytes <= self._room:
                self._room -= picture.nbytes
                self._pictures[record.path] = picture
        return picture


def all_skipped(data: DetectionData, state: RunState, validator: Validator | None) -> dict[str, str]:
    """Collect the pictures that were left out, path -> reason.

    They were left out of the data set, of training or of validation.
    """
    skipped = [*data.skipped, *(validator.skipped if validator is not None else [])]
    return {**{str(path): reason for path, reason in skipped}, **state.broken}


def score_best(
    finished: Finished, validator: Validator | None, recipe: TrainRecipe, data: DetectionData, console: Console
) -> Metrics | None:
    """Evaluate the best checkpoint as it was written.

    The best confidences are stored in it. Result pictures are left out where ``recipe.plots`` is off.

    Returns:
        Its metrics; None without a validation split.
    """
    folder, state = finished.folder, finished.state
    report = scores = None
    if validator is not None:
        report = Report.of(validator.run(finished.best_network(), finished.module.device))
        scores = {**report.to_json(), "ms_per_image": report.result.ms_per_image}
        best = report.best.confidences()
        rewrite_metadata(folder / BEST, lambda metadata: metadata.model_copy(update={"best_confidence": best}))
        print_report(console, report, f"best weights, epoch {state.best_epoch} of {state.epochs_done}, on val")
    write_json(
        folder / "results.json",
        {
            "split": "val",
            "data": data.root.name,
            "best_epoch": state.best_epoch,
            "epochs": state.epochs_done,
            "training_seconds": round(state.seconds, 1),
            "pictures_skipped": all_skipped(data, state, validator),
            "metrics": scores,
        },
    )
    if recipe.plots:
        from ghostyolo.evaluate.plots import plot_training_curves, write_result_pictures

        try:
            plot_training_curves(state.rows, folder / "results.png")
            if report is not None and validator is not None:
                write_result_pictures(report.result, folder, validator.load_image)
                title = f"The worst pictures of {validator.metadata.model} on {printable(data.root.name)}, val"
                report.write_worst(folder / WORST, title, validator.load_image)
        except GhostYoloError as error:
            # The weights are there; a missing picture is no reason to call the run a failure.
            log.warning("result pictures: %s", error)
            console.print(f"no result pictures: {error}")
    return None if report is None else report.result.metrics
