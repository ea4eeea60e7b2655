"""Makes the file that an engine runs, where there is none yet.

It exports checkpoints and untrained networks. Only to be timed, so the comparison with the network is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostyolo.benchmark.candidates import CHECKPOINT_ENGINE, CHECKPOINT_SUFFIX, CLASSES, Candidate, check_precision
from ghostyolo.errors import ConfigError

if TYPE_CHECKING:
    from ghostyolo.metadata import ModelMetadata
    from ghostyolo.models.detector import DetectionModel

DEFAULT_IMGSZ = 640
IN_CHANNELS = 3  # of untrained networks


class Builder:
    """Makes each file once, in a folder.

    Args:
        folder: for the files.
        batch: pictures in a call, for formats that fix it.
        classes: of untrained networks.
        data: data set whose train split INT8 files are calibrated on; an untrained network takes built-in pictures.
    """

    def __init__(self, folder: Path, batch: int = 1, classes: int = CLASSES, data: str | Path | None = None) -> None:
        self._folder, self._batch, self._classes, self._data = folder, batch, classes, data

    def path(self, candidate: Candidate) -> Path:
        """The file or folder that the candidate's engine opens.

        Raises:
            GhostYoloError: the network cannot be built or exported.
        """
        if candidate.kind == "file":
            return Path(candidate.place)
        if candidate.kind == "ultralytics":
            from ghostyolo.benchmark.ultralytics_peer import export_peer

            return export_peer(candidate.place, candidate.imgsz or DEFAULT_IMGSZ, self._batch, self._folder)
        return self._export(candidate)

    def _export(self, candidate: Candidate) -> Path:
        from ghostyolo.export.exporter import export_detector
        from ghostyolo.export.formats import format_of_engine

        stem = "-".join([Path(candidate.place).stem.replace("/", "_"), candidate.precision, *_size(candidate.imgsz)])
        if candidate.engine == CHECKPOINT_ENGINE:
            target = self._folder / f"{stem}{CHECKPOINT_SUFFIX}"
            if not target.exists():
                from ghostyolo.models.weights import load_checkpoint, save_checkpoint

                trained = candidate.kind == "checkpoint"
                save_checkpoint(*(load_checkpoint(candidate.place) if trained else self._untrained(candidate)), target)
            return target
        check_precision(candidate.engine, candidate.precision)
        kind = format_of_engine(candidate.engine)
        assert kind is not None  # or check_precision would have refused
        target = self._folder / f"{stem}{kind.suffix}"
        if not target.exists():
            export_detector(
                candidate.place if candidate.kind == "checkpoint" else self._untrained(candidate),
                target,
                kind.name,
                **(self._calibration(candidate) if candidate.precision == "int8" else {}),
                check=False,
                imgsz=candidate.imgsz,
                dynamic=False,
                batch=self._batch,
                precision=candidate.precision,
            )
        return target

    def _calibration(self, candidate: Candidate) -> dict[str, Any]:
        if candidate.kind == "network":  # ranges change nothing about how long an untrained network takes
            from ghostyolo.export.parity import built_in_pictures

            return {"calibration": built_in_pictures(IN_CHANNELS)}
        if self._data is None:
            raise ConfigError(
                f"{candidate.model} in int8 is calibrated on pictures: give --data, or a file that is int8 already"
            )
        return {"data": self._data, "split": None}

    def _untrained(self, candidate: Candidate) -> tuple[DetectionModel, ModelMetadata]:
        import torch

        from ghostyolo._version import __version__
        from ghostyolo.metadata import ModelMetadata
        from ghostyolo.models import build_model

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(candidate.place, num_classes=self._classes)
        metadata = ModelMetadata(
            version=__version__,
            model=candidate.place,
            class_names=[f"class {number}" for number in range(self._classes)],
            imgsz=candidate.imgsz or model.config.imgsz or DEFAULT_IMGSZ,
            stride=model.stride,
            in_channels=model.in_channels,
            mean=list(model.config.mean),
            std=list(model.config.std),
        )
        return model, metadata


def _size(imgsz: int | None) -> list[str]:
    return [] if imgsz is None else [str(imgsz)]
