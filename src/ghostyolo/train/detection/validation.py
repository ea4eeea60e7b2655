"""Scores of a live network, by the metrics of ``ghostyolo val``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ghostyolo.data.images import read_image
from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import TrainingError, WeightsError
from ghostyolo.evaluate import EvaluationResult, evaluate
from ghostyolo.metadata import ModelMetadata
from ghostyolo.nn.reparam import fold
from ghostyolo.runtime.engines.torch import TorchEngine
from ghostyolo.runtime.predictor import Predictor

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
