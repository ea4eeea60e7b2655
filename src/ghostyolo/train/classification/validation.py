"""Top-1 and top-5 of a classifier on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ghostyolo.data.class_transforms import validation_transform
from ghostyolo.data.classification import ClassDataset, collate
from ghostyolo.data.images import PixelRange
from ghostyolo.data.labelled import LabelledImage
from ghostyolo.errors import DataError, TrainingError
from ghostyolo.train.recipe import ClassRecipe


class ClassValidator:
    """Scores networks on one split, left as they are.

    Args:
        records: the split.
        recipe: says size, crop, batch, workers and cache.
        channels: of the pictures.
        pixel_range: of the data set.
    """

    main_score = "top1"

    def __init__(
        self,
        records: Sequence[LabelledImage],
        recipe: ClassRecipe,
        channels: int,
        pixel_range: PixelRange | None = None,
    ) -> None:
        transform = validation_transform(recipe.imgsz, recipe.val_crop)
        self.recipe = recipe
        self.dataset = ClassDataset(
            records, transform, seed=0, channels=channels, cache=recipe.cache, pixel_range=pixel_range
        )
        if recipe.cache == "ram" and recipe.workers:
            self.dataset.preload()

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """Pictures that could not be read, as (path, reason)."""
        return list(self.dataset.broken.items())

    @torch.inference_mode()
    def scores(self, model: nn.Module, device: torch.device) -> dict[str, float | None]:
        """Compute top1 and top5, as shares of 0 to 1.

        The true class is the first, or among the five first.

        Raises:
            DataError: no picture of the split can be read.
            TrainingError: logits that are no numbers.
        """
        was_training, model = model.training, model.eval().to(device)
        first = five = count = 0
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_size=self.recipe.val_batch,
            sampler=[(0, index) for index in range(len(self.dataset))],  # type: ignore[arg-type]
            collate_fn=collate,
            num_workers=self.recipe.workers,
        )
        for batch in loader:
            self.dataset.report(batch)
            if not len(batch):
                continue
            images = batch.images.to(device).float() / 255
            if self.recipe.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
            logits = model(images)
            if not bool(torch.isfinite(logits).all()):
                raise TrainingError("training has diverged (logits are not numbers): lower lr, or use precision 32")
            hits = logits.topk(min(5, logits.shape[1])).indices == batch.labels.to(device)[:, None]
            first += int(hits[:, 0].sum())
            five += int(hits.sum())
            count += len(batch)
        model.train(was_training)
        if not count:
            raise DataError(f"none of the {len(self.dataset)} validation pictures can be read")
        return {"top1": first / count, "top5": five / count}
