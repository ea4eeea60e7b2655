"""Labelled pictures for training a classifier: decoded, augmented one by one, gathered into batches.

The data set is asked by (epoch, position), and what it gives is a function of those and the seed: workers, resumes and
the teacher's cached logits all see the same pictures.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ghostyolo.data.class_transforms import Transform
from ghostyolo.data.dataset import Missing
from ghostyolo.data.images import PixelRange, Pixels, read_image
from ghostyolo.data.labelled import LabelledImage
from ghostyolo.data.sampler import EpochSampler
from ghostyolo.errors import DataError

_log = logging.getLogger(__name__)

Key = tuple[int, int]
"""Epoch and position."""


@dataclass(frozen=True)
class Picture:
    """An augmented picture with its class and position.

    (C, imgsz, imgsz), uint8, or float in 0 to 1.
    """

    image: Tensor
    label: int
    index: int


@dataclass
class ClassBatch:
    """B pictures; B = 0 where not one of them could be read.

    Attributes:
        images: (B, C, imgsz, imgsz) uint8, or float in 0 to 1.
        labels: (B,) int64.
        indices: B positions in the data set.
        missing: pictures left out, for :meth:`ClassDataset.report`.
    """

    images: Tensor
    labels: Tensor
    indices: list[int]
    missing: list[Missing] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClassBatch:
        """A copy with its tensors on ``device``."""
        images, labels = (x.to(device, non_blocking=non_blocking) for x in (self.images, self.labels))
        return ClassBatch(images, labels, self.indices, self.missing)

    def pin_memory(self) -> ClassBatch:
        """A copy in page-locked memory; a ``DataLoader`` with ``pin_memory=True`` calls this."""
        return ClassBatch(self.images.pin_memory(), self.labels.pin_memory(), self.indices, self.missing)


def collate(pictures: Sequence[Picture | Missing]) -> ClassBatch:
    """Gather pictures into a batch; the missing ones are left out and listed."""
    found = [picture for picture in pictures if isinstance(picture, Picture)]
    return ClassBatch(
        images=torch.stack([picture.image for picture in found]) if found else torch.zeros(0, dtype=torch.uint8),
        labels=torch.tensor([picture.label for picture in found], dtype=torch.int64),
        indices=[picture.index for picture in found],
        missing=[picture for picture in pictures if isinstance(picture, Missing)],
    )


class ClassDataset(Dataset[Picture | Missing]):
    """The pictures of one split, by (epoch, position).

    Args:
        records: the split.
        transform: a PIL picture to a tensor.
        seed: of the run.
        channels: 3 for RGB, 1 for grey.
        cache: ``"ram"`` keeps decoded pictures at their own size, ``"none"`` decodes every time.
        pixel_range: of pictures of more than 8 bits, the values that are black and white.

    Attributes:
        broken: path -> reason of every picture that could not be read; with worker processes :meth:`report` each batch.
    """

    def __init__(
        self,
        records: Sequence[LabelledImage],
        transform: Transform,
        *,
        seed: int,
        channels: int = 3,
        cache: Literal["ram", "none"] = "none",
        pixel_range: PixelRange | None = None,
    ) -> None:
        self.records, self.transform, self.seed, self.channels = records, transform, seed, channels
        self.pixel_range = pixel_range
        self.broken: dict[Path, str] = {}
        self._keep = cache == "ram"
        self._kept: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: Key) -> Picture | Missing:
        epoch, index = key
        record = self.records[index]
        try:
            pixels = self._pixels(index, record)
        except DataError as error:
            missing = Missing(index, record.path, _named(error, record))
            self._note(missing)
            return missing
        _seed_everything(self.seed, epoch, index)
        # The libraries' augmentation is for RGB; of grey ones it keeps the three channels alike.
        image = Image.fromarray(pixels if self.channels == 3 else pixels.repeat(3, axis=2))
        return Picture(self.transform(image)[: self.channels], record.label, index)

    def preload(self) -> None:
        """Decode every picture into the cache, before worker processes start and share it."""
        for index in range(len(self)):
            try:
                self._pixels(index, self.records[index])
            except DataError:
                continue  # it is noted when a batch meets it

    def report(self, batch: ClassBatch) -> None:
        """Enter the missing pictures of a batch into ``broken``.

        A worker process may have met them.
        """
        for missing in batch.missing:
            self._note(missing)

    def _note(self, missing: Missing) -> None:
        if missing.path not in self.broken:
            self.broken[missing.path] = missing.reason
            _log.warning("left out: %s", missing.reason)

    def _pixels(self, index: int, record: LabelledImage) -> Pixels:
        pixels = self._kept.get(index)
        if pixels is None:
            pixels = read_image(record.source, self.channels, self.pixel_range)
            if self._keep:
                self._kept[index] = pixels
        return pixels


class KeySampler(Sampler[Key]):
    """Positions of an epoch together with its number; Lightning calls ``set_epoch``."""

    def __init__(self, order: EpochSampler) -> None:
        self.order = order

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Key]:
        return ((self.order.epoch, index) for index in self.order)


def _named(error: DataError, record: LabelledImage) -> str:
    return str(error) if record.encoded is None else f"{record.path} cannot be decoded ({error})"


def _seed_everything(*parts: int) -> None:
    """Seed all that the libraries' augmentation draws from."""
    words: Any = np.random.SeedSequence(parts).generate_state(3, np.uint32)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.default_generator.manual_seed(int(words[2]))
