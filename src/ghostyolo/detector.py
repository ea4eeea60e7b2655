"""The public face in Python: one object for a detector's whole life.

It trains, evaluates, predicts, exports and saves.

Imports nothing heavy until a method needs it; predicting with ONNX weights needs no torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostyolo.errors import ConfigError, suggest
from ghostyolo.extras import require
from ghostyolo.files import atomic_path

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from typing_extensions import Unpack

    from ghostyolo.evaluate import Metrics
    from ghostyolo.runtime.prediction import Predictions
    from ghostyolo.runtime.predictor import Predictor
    from ghostyolo.runtime.sources import Source
    from ghostyolo.runtime.timing import Timing
    from ghostyolo.thresholds import Limits
    from ghostyolo.train.loop import TrainResult


class Detector:
    """A network that is yet to be trained, or trained weights.

    Args:
        source: a network's name (``ghostyolo.list_models()``) or YAML file; or weights: a built-in name
            (``"bccd"``), a ``.safetensors`` or ``.onnx`` file, or ``hf://owner/repo/file``.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``, for evaluation and prediction.
        threads: CPU threads of one network call; None lets the engine choose.
        engine_options: settings of the engine by its own names, see :func:`ghostyolo.load`.

    Attributes:
        model: the network's name or file, None where the weights say it.
        weights: the weights' name or file, None before training.

    Raises:
        ConfigError: no network and no weights of that name.
        WeightsError: a weights file or address that leads nowhere.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        engine_options: Mapping[str, Any] | None = None,
    ) -> None:
        from ghostyolo.models.names import is_model_name, list_models
        from ghostyolo.runtime.weights import builtin_names, resolve_weights

        self.device, self.threads, self.engine_options = device, threads, engine_options
        self.model: str | None = None
        self.weights: str | Path | None = None
        self._predictor: Predictor | None = None
        name = str(source)
        is_name = not Path(name).suffix and len(Path(name).parts) == 1
        if is_model_name(name) or name.endswith((".yaml", ".yml")):
            self.model = name
        elif is_name and name not in builtin_names() and not Path(name).is_file():
            known = suggest(name, [*list_models(), *builtin_names()])
            raise ConfigError(f"'{name}' is neither a network nor built-in weights: {known}")
        else:
            resolve_weights(source)
            self.weights = source

    @property
    def predictor(self) -> Predictor:
        """The engine with its weights, opened at first use.

        Raises:
            ConfigError: the network was not trained yet.
        """
        if self.weights is None:
            raise ConfigError(f"{self.model} has no weights yet: call train(data=...) first, or name weights")
        if self._predictor is None:
            from ghostyolo.runtime.predictor import load

            self._predictor = load(
                self.weights, device=self.device, threads=self.threads, engine_options=self.engine_options
            )
        return self._predictor

    def train(
        self,
        data: str | Path | Sequence[str | Path] | None = None,
        *,
        out: str | Path = "runs/train",
        recipe: str | Path | None = None,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        **options: Any,
    ) -> TrainResult:
        """Train on a data set, and take the best weights.

        Weights that the detector had are fine-tuned. Settings that are not given are chosen by what data and machine
        are like, see docs/train.md.

        Args:
            data: a folder of any layout, or a file that stands for it, or several of them, each labelling only its own
                classes; may be left out on resume.
            out: folder of the run.
            recipe: YAML file of settings.
            resume: go on with the run in ``out`` after its last finished epoch.
            callbacks: Lightning's, beside those of every run, for logging services and the like.
            **options: settings that come before the recipe's, by the names of
                :class:`ghostyolo.train.recipe.TrainRecipe`: ``epochs=50, imgsz=320, ...``; with
                ``teacher="big.safetensors"`` it learns from that detector too, ``distil="logits,boxes"`` says what.

        Raises:
            GhostYoloError: see :func:`ghostyolo.train.detection.fit.fit`.
        """
        require("train", "training")
        from ghostyolo.openmp import wait_passively

        wait_passively()
        from ghostyolo.train.detection.start import train_detector

        result = train_detector(
            data,
            None if options.get("qat") else self.model,
            out=out,
            recipe=recipe,
            options={"weights": self.weights, **options},
            resume=resume,
            callbacks=callbacks,
        )
        self.weights, self._predictor = result.best, None
        return result

    def val(
        self,
        data: str | Path,
        split: str = "val",
        *,
        imgsz: int | None = None,
        batch: int = 16,
        **select: Unpack[Limits],
    ) -> Metrics:
        """Score on a split with COCO metrics, values 0..1.

        Args:
            data: a folder of any layout, or a file that stands for it.
            split: its part to score on.
            imgsz, batch: see :meth:`ghostyolo.runtime.predictor.Predictor.val`.
            **select: ``confidence`` (or ``conf``), ``iou``, ``max_detections`` (or ``max_det``), ``vote``, ``tta``, see
                :class:`ghostyolo.thresholds.MetricSelection`.

        Raises:
            ConfigError, DataError: model and data have different classes, or there is nothing to score on.
        """
        return self.predictor.val(data, split, imgsz=imgsz, batch=batch, **select)

    def predict(
        self,
        sources: Source | Iterable[Source],
        *,
        imgsz: int | None = None,
        batch: int = 1,
        rect: bool = True,
        bgr: bool = False,
        **select: Unpack[Limits],
    ) -> Predictions:
        """Detect objects on pictures, folders, globs, URLs, videos, RGB arrays or PIL images.

        Args:
            sources: one, or several.
            imgsz, batch, rect, bgr: see :meth:`ghostyolo.runtime.predictor.Predictor.predict`.
            **select: ``confidence`` (or ``conf``), ``class_confidence``, ``iou``, ``max_detections`` (or ``max_det``),
                ``classes``, ``vote``, ``tta``, see :class:`ghostyolo.thresholds.Selection`.

        Returns:
            One prediction a picture or frame, made while iterating, or kept when indexed;
            ``.detections`` is a ``supervision.Detections``.
        """
        return self.predictor.predict(sources, imgsz=imgsz, batch=batch, rect=rect, bgr=bgr, **select)

    def __call__(self, sources: Source | Iterable[Source], **options: Any) -> Predictions:
        """Detect objects on pictures at once, and keep the results: ``detector("photo.jpg")[0].plot()``.

        Args:
            sources: one, or several.
            **options: as of :meth:`predict`, which is for videos and folders of any length.
        """
        return self.predictor(sources, **options)

    def __repr__(self) -> str:
        return f"Detector({str(self.weights or self.model)!r}{'' if self.weights else ', untrained'})"

    def benchmark(
        self,
        images: Source | Iterable[Source] | None = None,
        *,
        imgsz: int | None = None,
        batch: int = 1,
        runs: int = 50,
        warmup: int = 5,
    ) -> Timing:
        """Time letterbox, network and NMS in this process, on pictures or built-in ones.

        Args:
            images: see :meth:`predict`.
            imgsz, batch, runs, warmup: see :meth:`ghostyolo.runtime.predictor.Predictor.benchmark`.
        """
        return self.predictor.benchmark(images, imgsz=imgsz, batch=batch, runs=runs, warmup=warmup)

    def export(self, format: str = "onnx", out: str | Path | None = None, **options: Any) -> Path:
        """Fold the branches and write the detector for another engine.

        Args:
            format: name of the format, such as "onnx" or "openvino".
            out: the file or folder; default: beside the weights, with the format's suffix.
            **options: those of :func:`ghostyolo.export.exporter.export_detector`, the command's by name: ``imgsz``,
                ``dynamic``, ``batch``, ``precision``, ``output``, ``data``, ``split``, ``images``, ``calibration``,
                ``max_drop``, ``check``, ``overwrite`` ...

        Raises:
            ConfigError: an unknown format or option, no weights yet, or nothing to calibrate on.
            OutputError: ``out`` exists, or cannot be written.
            ParityError: the file does not give the network's answers.
        """
        require("train", "exporting")
        from ghostyolo.export.exporter import export_detector

        self._checkpoint()
        assert self.weights is not None
        return export_detector(self.weights, out, format, **options).path

    def save(self, path: str | Path) -> Path:
        """Write the checkpoint, with its metadata, to a ``.safetensors`` file.

        Raises:
            ConfigError: no weights yet, or another suffix.
            OutputError: the file cannot be written.
        """
        if Path(path).suffix != ".safetensors":
            raise ConfigError(f"{path}: a checkpoint is a .safetensors file; export(format=...) writes others")
        source = self._checkpoint()
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
        return Path(path)

    def _checkpoint(self) -> Path:
        from ghostyolo.runtime.weights import resolve_weights

        if self.weights is None:
            raise ConfigError(f"{self.model} has no weights yet: call train(data=...) first, or name weights")
        checkpoint = resolve_weights(self.weights, suffixes=(".safetensors",))
        if checkpoint.suffix != ".safetensors":
            raise ConfigError(f"{checkpoint} is exported already: use the .safetensors that it was made from")
        return checkpoint
