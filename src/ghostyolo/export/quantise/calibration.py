"""Pictures whose activations set the ranges of an INT8 file.

They are letterboxed as prediction does, on one canvas size. They are taken from a data set's train split (val is what
the file is judged on), or from a folder of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ghostyolo.data.images import IMAGE_SUFFIXES, PixelRange, common_range, read_image
from ghostyolo.data.letterbox import TRAINED_RESIZE, Resize, network_input, plan_letterbox
from ghostyolo.data.records import ImageRecord
from ghostyolo.data.split import load_split
from ghostyolo.errors import ConfigError, DataError, NoSplitError, SourceError
from ghostyolo.export.deployed import ExportJob
from ghostyolo.export.quantise import Canvas
from ghostyolo.runtime.sources import Sources

IMAGES = 300


def canvases_of_data(
    data: str | Path,
    size: tuple[int, int],
    channels: int = 3,
    images: int = IMAGES,
    seed: int = 0,
    resize: Resize = TRAINED_RESIZE,
    pixel_range: PixelRange | None = None,
) -> list[Canvas]:
    """Pictures of a data set's train split as input.

    Args:
        data: the data set, of any layout.
        size: (height, width) of the canvas in pixels.
        channels: of the network's input.
        images: at most so many, spread evenly over the split.
        seed: where in the split the choice begins.
        resize, pixel_range: how pictures are shrunk and scaled, as the network's metadata says; without a range it is
            that of the pictures.

    Returns:
        Each (1, C, height, width) float32, RGB in 0..1.

    Raises:
        DataError: no data set, no train split, or no picture in it that can be read.
        ConfigError: fewer than one picture is asked for.
    """
    try:
        dataset = load_split(data, "train")
    except NoSplitError as error:
        raise DataError(f"{error}; give --calibration FOLDER with pictures") from error
    dataset.warn()
    return canvases_of_records(dataset.splits["train"], size, channels, images, seed, resize, pixel_range)


def canvases_of_records(
    records: Sequence[ImageRecord],
    size: tuple[int, int],
    channels: int = 3,
    images: int = IMAGES,
    seed: int = 0,
    resize: Resize = TRAINED_RESIZE,
    pixel_range: PixelRange | None = None,
) -> list[Canvas]:
    """Labelled pictures as input; see :func:`canvases_of_data`.

    Raises:
        DataError: none can be read.
    """
    chosen = [records[position] for position in choose(len(records), images, seed)]
    pictures = [(record.path, pixel_range or record.pixel_range) for record in chosen]
    return _read(pictures, size, channels, resize, str(chosen[0].path.parent))


def canvases_of_folder(
    source: str | Path,
    size: tuple[int, int],
    channels: int = 3,
    images: int = IMAGES,
    seed: int = 0,
    resize: Resize = TRAINED_RESIZE,
    pixel_range: PixelRange | None = None,
) -> list[Canvas]:
    """Pictures of a folder, a glob or one file as input; see :func:`canvases_of_data`.

    Raises:
        SourceError: there is no picture.
        DataError: none can be read.
    """
    paths = [path for path in Sources(str(source)).paths if path.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise SourceError(f"{source} has no pictures to calibrate on")
    pixel_range = pixel_range or common_range(paths)
    pictures = [(paths[position], pixel_range) for position in choose(len(paths), images, seed)]
    return _read(pictures, size, channels, resize, str(source))


def choose(count: int, wanted: int, seed: int = 0) -> list[int]:
    """Return positions of at most ``wanted`` of ``count`` pictures.

    They are evenly spaced from an offset that the seed sets.

    Raises:
        ConfigError: fewer than one is wanted.
    """
    if wanted < 1:
        raise ConfigError(f"calibration needs at least 1 picture, not {wanted}")
    if wanted >= count:
        return list(range(count))
    offset = np.random.default_rng(seed).random()
    return [int((number + offset) * count / wanted) for number in range(wanted)]


def in_batches(calibration: Sequence[Canvas], job: ExportJob) -> list[Canvas]:
    """Stack the canvases into calls of the job's file.

    The last call is filled up with the first pictures.
    """
    batch = (job.metadata.export.batch if job.metadata.export else None) or 1
    starts = range(0, len(calibration), batch)
    return [
        np.concatenate([calibration[(start + number) % len(calibration)] for number in range(batch)])
        for start in starts
    ]


def canvas_of(image: npt.NDArray[np.uint8], size: tuple[int, int], resize: Resize = TRAINED_RESIZE) -> Canvas:
    """One picture (H, W, C) uint8 as input (1, C, height, width) in 0..1."""
    plan = plan_letterbox(image.shape[1], image.shape[0], size, resize=resize)
    return network_input([image], [plan])


def _read(
    pictures: Sequence[tuple[Path, PixelRange | None]], size: tuple[int, int], channels: int, resize: Resize, where: str
) -> list[Canvas]:
    canvases, reason = [], ""
    for path, pixel_range in pictures:
        try:
            canvases.append(canvas_of(read_image(path, channels, pixel_range), size, resize))
        except (DataError, OSError) as error:
            reason = str(error)
    if not canvases:
        raise DataError(f"{where}: none of {len(pictures)} pictures to calibrate on can be read; the last: {reason}")
    return canvases
