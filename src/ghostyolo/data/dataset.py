"""Labelled pictures for training: read, resized once, kept in memory.

Batch augmentation does the rest.

A picture is (C, h, w) uint8 with max(h, w) = imgsz, its boxes xyxy float32 in its own pixels. One that cannot
be read is left out of its batch and reported, it never stops an epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ghostyolo.data.images import read_image
from ghostyolo.data.letterbox import resize_picture, resized_size
from ghostyolo.data.records import ImageRecord
from ghostyolo.errors import ConfigError, DataError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One picture and its objects.

    Attributes:
        image: (C, h, w) uint8, RGB or grey. It may be the cached one: do not write to it.
        boxes: (M, 4) float32 xyxy in pixels of ``image``.
        labels: (M,) int64.
        index: position in the data set.
        known: (C,) bool, classes that the picture's labels know; None: all.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    index: int
    known: Tensor | None = None


@dataclass(frozen=True)
class Missing:
    """The place of a picture that could not be read, and why."""

    index: int
    path: Path
    reason: str


@dataclass
class Batch:
    """What ``BatchAugment`` takes: B pictures of any sizes.

    B is 0 where not one of them could be read.

    Attributes:
        images: B tensors (C, h_i, w_i) uint8.
        boxes: B tensors (M_i, 4) float32 xyxy in pixels of their picture.
        labels: B tensors (M_i,) int64.
        indices: B positions in the data set.
        missing: pictures left out, for ``DetectionDataset.report``.
        known: (B, C) bool, classes that each picture's labels know; None: all of them in every picture.
    """

    images: list[Tensor]
    boxes: list[Tensor]
    labels: list[Tensor]
    indices: list[int]
    missing: list[Missing] = field(default_factory=list)
    known: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """A copy with its tensors on ``device``; Lightning and the training loop call this."""

        def move(tensors: list[Tensor]) -> list[Tensor]:
            return [tensor.to(device, non_blocking=non_blocking) for tensor in tensors]

        known = None if self.known is None else self.known.to(device, non_blocking=non_blocking)
        return Batch(move(self.images), move(self.boxes), move(self.labels), self.indices, self.missing, known)

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; a ``DataLoader`` with ``pin_memory=True`` calls this."""

        def pin(tensors: list[Tensor]) -> list[Tensor]:
            return [tensor.pin_memory() for tensor in tensors]

        known = None if self.known is None else self.known.pin_memory()
        return Batch(pin(self.images), pin(self.boxes), pin(self.labels), self.indices, self.missing, known)


def collate(samples: Sequence[Sample | Missing]) -> Batch:
    """Gather samples into a batch; the missing ones are left out and listed."""
    found = [sample for sample in samples if isinstance(sample, Sample)]
    return Batch(
        images=[sample.image for sample in found],
        boxes=[sample.boxes for sample in found],
        labels=[sample.labels for sample in found],
        indices=[sample.index for sample in found],
        missing=[sample for sample in samples if isinstance(sample, Missing)],
        known=_stack_known([sample.known for sample in found]),
    )


def _stack_known(each: Sequence[Tensor | None]) -> Tensor | None:
    partial = next((known for known in each if known is not None), None)
    if partial is None:
        return None
    return torch.stack([torch.ones_like(partial) if known is None else known for known in each])


class DetectionDataset(Dataset[Sample | Missing]):
    """The pictures of one split, by position.

    Attributes:
        records: the split's records.
        broken: path -> reason of every picture that could not be read. ``DataLoader`` workers are processes
            of their own, so with them call ``report(batch)`` for each batch, or ``preload()`` before.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        imgsz: int,
        *,
        channels: int = 3,
        cache: Literal["ram", "none"] = "ram",
    ) -> None:
        """Hold records; nothing is read before it is asked for.

        Args:
            records: pictures with their objects; those marked ``ignore`` become regions to ignore.
            imgsz: long side of every picture in pixels.
            channels: 3 for RGB, 1 for grey, others as ``read_image`` allows.
            cache: ``"ram"`` keeps resized pictures (uint8, see ``cache_bytes``), ``"none"`` reads every time.

        Raises:
            ConfigError: an unknown cache or a size below 1.
        """
        if cache not in ("ram", "none"):
            raise ConfigError(f"cache: {cache!r} is unknown; valid: none, ram")
        if imgsz < 1:
            raise ConfigError(f"imgsz: {imgsz} is not a size in pixels; give 32 or more")
        self.records = list(records)
        self.imgsz = imgsz
        self.channels = channels
        self.broken: dict[Path, str] = {}
        self._kept = len(self.records) if cache == "ram" else 0
        self._cached: list[Tensor | None] = [None] * len(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample | Missing:
        record = self.records[index]
        try:
            image, scale_x, scale_y = self._picture(index)
        except DataError as error:
            missing = Missing(index, record.path, str(error))
            self._note(missing)
            return missing
        boxes = torch.from_numpy(np.array(record.boxes_xyxy, dtype=np.float32).reshape(-1, 4))
        boxes *= torch.tensor([scale_x, scale_y, scale_x, scale_y])
        labels = torch.from_numpy(np.where(record.ignore, ~record.labels, record.labels).astype(np.int64))
        known = None if record.known is None else torch.from_numpy(record.known)
        return Sample(image, boxes, labels, index, known)

    @property
    def cache_bytes(self) -> int:
        """Memory that all pictures will take when cached."""
        return sum(self._sizes())

    def limit_cache(self, room: int) -> int:
        """Keep as many pictures as fit into ``room`` bytes; return their number.

        The others are read each time.
        """
        fits = takewhile(lambda total: total <= room, accumulate(self._sizes()))
        self._kept = min(self._kept, sum(1 for _ in fits))
        return self._kept

    def _sizes(self) -> Iterator[int]:
        """Bytes that each picture takes when cached."""
        for record in self.records:
            width, height = _fitted_size(record.width, record.height, self.imgsz)
            yield width * height * self.channels

    def preload(self, threads: int = 2) -> None:
        """Read every picture into the cache.

        Do it before ``DataLoader`` workers start: they then share this one cache instead of filling one each.
        """
        with ThreadPoolExecutor(max(1, threads)) as pool:
            for _ in pool.map(self.__getitem__, range(self._kept)):
                pass

    def report(self, batch: Batch) -> None:
        """Enter the missing pictures of a batch into ``broken``.

        A worker process may have met them.
        """
        for missing in batch.missing:
            self._note(missing)

    def _note(self, missing: Missing) -> None:
        if missing.path not in self.broken:
            self.broken[missing.path] = missing.reason
            _log.warning("left out of training: %s", missing.reason)

    def _picture(self, index: int) -> tuple[Tensor, float, float]:
        """The resized picture and its scale in x and y against the size that the record's boxes are in."""
        record = self.records[index]
        image = self._cached[index]
        if image is None:
            pixels = read_image(record.path, self.channels, record.pixel_range)
            pixels = resize_picture(pixels, *_fitted_size(pixels.shape[1], pixels.shape[0], self.imgsz))
            image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
            if index < self._kept:
                self._cached[index] = image
        return image, image.shape[2] / record.width, image.shape[1] / record.height


def _fitted_size(width: int, height: int, imgsz: int) -> tuple[int, int]:
    return resized_size(width, height, imgsz / max(width, height))
