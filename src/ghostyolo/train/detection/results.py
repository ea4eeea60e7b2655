"""The end of a run: score the best weights, write ``results.json`` and the pictures."""

from __future__ import annotations

import logging

from rich.console import Console

from ghostyolo.data.records import DetectionData
from ghostyolo.errors import GhostYoloError
from ghostyolo.evaluate import Metrics
from ghostyolo.files import write_json
from ghostyolo.train.detection.validation import Validator
from ghostyolo.train.loop import Finished
from ghostyolo.train.recipe import TrainRecipe
from ghostyolo.train.state import RunState

log = logging.getLogger(__name__)


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

    Result pictures are left out where ``recipe.plots`` is off.

    Returns:
        Its metrics; None without a validation split.
    """
    folder, state = finished.folder, finished.state
    result = None
    if validator is not None:
        result = validator.run(finished.best_network(), finished.module.device)
    scores = None if result is None else {**result.metrics.to_json(), "ms_per_image": result.ms_per_image}
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
            if result is not None and validator is not None:
                write_result_pictures(result, folder, validator.load_image)
        except GhostYoloError as error:
            # The weights are there; a missing picture is no reason to call the run a failure.
            log.warning("result pictures: %s", error)
            console.print(f"no result pictures: {error}")
    return None if result is None else result.metrics
