"""Pictures in, ``supervision.Detections`` out, with any engine.

The predictor letterboxes, batches, runs the engine, thresholds, suppresses (where the network's metadata says that it
is needed) and maps boxes back to the pixels of each original picture. Pictures are (H, W, C) uint8, RGB. Times are
wall-clock milliseconds for one picture: letterbox, network and NMS, not reading or drawing.
"""

from __future__ import annotations

import logging
import numbers
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ghostyolo.data.letterbox import TRAINED_RESIZE, Letterbox, Place, Resize, network_input, plan_letterbox
from ghostyolo.errors import ConfigError, SourceError, WeightsError
from ghostyolo.metadata import ModelMetadata, check_imgsz
from ghostyolo.runtime.engines import Engine, open_engine
from ghostyolo.runtime.postprocess import join_mirrored, select_detections
from ghostyolo.runtime.prediction import Prediction, Predictions
from ghostyolo.runtime.sources import Frame, Source, Sources, reverse_colours
from ghostyolo.runtime.weights import resolve_weights
from ghostyolo.thresholds import SELECTION, Limits, MetricSelection, Selection, settle_limits

if TYPE_CHECKING:
    import supervision
    from typing_extensions import Unpack

    from ghostyolo.evaluate import Metrics
    from ghostyolo.runtime.timing import Timing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Pictures as the network takes them, and the way back.

    Attributes:
        inputs: (B, C, H, W) float32 in 0..1.
        plans: where each picture lies on its canvas.
        sizes: (width, height) of each picture in pixels.
    """

    inputs: npt.NDArray[np.float32]
    plans: list[Letterbox]
    sizes: list[tuple[int, int]]


class Predictor:
    """Runs a detector on pictures.

    Args:
        engine: anything that answers to :class:`ghostyolo.runtime.engines.Engine`.
        weights: the file it runs, beside which the split of its training may lie.
    """

    def __init__(self, engine: Engine, weights: str | Path | None = None) -> None:
        self.engine = engine
        self.weights = weights
        self._memory = threading.local()

    def __repr__(self) -> str:
        return f"Predictor({self.metadata.model}, {len(self.class_names)} classes, {self.engine.name})"

    def __call__(
        self,
        sources: Source | Iterable[Source],
        *,
        imgsz: int | None = None,
        batch: int = 1,
        rect: bool = True,
        bgr: bool = False,
        **select: Unpack[Limits],
    ) -> Predictions:
        """Detect objects on pictures at once, and keep the results.

        The arguments are those of :meth:`predict`, which is for videos and folders of any length.

        Returns:
            A list of predictions: ``predictor("photo.jpg")[0].plot()``.
        """
        return self.predict(sources, imgsz=imgsz, batch=batch, rect=rect, bgr=bgr, **select).keep()

    @property
    def metadata(self) -> ModelMetadata:
        """What the weights say about themselves."""
        return self.engine.metadata

    @property
    def class_names(self) -> list[str]:
        """One name for each class index."""
        return self.engine.metadata.class_names

    @property
    def canvas(self) -> tuple[int, int] | None:
        """The only canvas (height, width) that an exported file takes.

        It is None where the file takes any.
        """
        return self.metadata.export.canvas if self.metadata.export else None

    def open_sources(self, sources: Source | Iterable[Source], *, bgr: bool = False) -> Sources:
        """Look up sources.

        They are read with the network's channels where it takes more than three.

        Args:
            bgr: arrays among them have blue first.
        """
        return Sources(sources, max(3, self.metadata.in_channels), self.metadata.pixel_range, bgr=bgr)

    def predict(
        self,
        sources: Source | Iterable[Source] | Sources,
        *,
        imgsz: int | None = None,
        batch: int = 1,
        rect: bool = True,
        bgr: bool = False,
        **select: Unpack[Limits],
    ) -> Predictions:
        """Detect objects on pictures and videos.

        There is one prediction for each picture or frame, in order, made when it is asked for.

        Args:
            sources: a path, glob, folder, URL, uint8 RGB array or PIL image, or several. Broken pictures
                among several are skipped and logged as warnings at the end; hand over
                :meth:`open_sources` to read its ``faults`` instead.
            imgsz, rect: see :meth:`detect`.
            batch: pictures in one call of the network.
            bgr: arrays have blue first, as those of ``cv2.imread`` and ``cv2.VideoCapture``.
            **select: ``confidence``, ``class_confidence``, ``iou``, ``max_detections``, ``classes``, ``vote``, ``tta``:
                see :meth:`detect`.

        Returns:
            What to iterate over, or to index: ``predict("photo.jpg")[0]``.

        Raises:
            SourceError: nothing to read, or none of it can be read.
            ConfigError: an impossible option.
        """
        _check_whole("batch", batch)
        selection = dict(self._selection(select, "predict"))
        self._check_size(imgsz)
        frames = sources if isinstance(sources, Sources) else self.open_sources(sources, bgr=bgr)

        def run(images: list[npt.NDArray[np.uint8]]) -> list[supervision.Detections]:
            return self.detect(images, imgsz=imgsz, rect=rect, **selection)

        # A generator's body runs at its first step; the checks above must speak when predict is called.
        return Predictions(_predictions(frames, batch, run, report=frames is not sources))

    def detect(
        self,
        images: list[npt.NDArray[np.uint8]],
        *,
        imgsz: int | None = None,
        rect: bool = True,
        bgr: bool = False,
        multi_label: bool = False,
        **select: Unpack[Limits],
    ) -> list[supervision.Detections]:
        """Detect objects on pictures of any sizes as one batch.

        Args:
            images: each (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, uint8; exactly the network's
                channels where it takes more than three.
            imgsz: side to letterbox to, a multiple of the stride; None: the side the model was trained at, or the
                canvas of a file that takes only one.
            rect: pad to multiples of the stride only, where the file takes any size. Pictures of several shapes
                share the smallest canvas that holds each one's own rectangle.
            bgr: the pictures have blue first, as those of ``cv2.imread`` and ``cv2.VideoCapture``.
            multi_label: a box may be reported once for each class above the threshold (for metrics).
            **select: ``confidence`` (``conf``; a number, or ``"auto"``: the best of each class, as stored by training),
                ``class_confidence``, ``iou``, ``max_detections`` (``max_det``), ``classes``, ``vote``, ``tta``, see
                :class:`ghostyolo.thresholds.Selection`. ``iou`` is without effect where the network finds each object
                once (``metadata.nms`` is False).

        Returns:
            One ``supervision.Detections`` for each picture, by falling score: ``xyxy`` in pixels of that
            picture, clipped to it, ``confidence``, ``class_id`` and ``data["class_name"]``.

        Raises:
            ConfigError: an impossible option.
            SourceError: a picture of a shape or type the network cannot take.
        """
        selection = self._selection(select, "detect")
        self._check_size(imgsz)
        if not isinstance(images, list | tuple | np.ndarray) or getattr(images, "ndim", 4) != 4:
            given = f"one of shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
            raise ConfigError(
                f"detect takes a list of (H, W, C) arrays, not {given}: detect([image]), or predict(source)"
            )
        if len(images) == 0:
            return []
        if bgr:
            images = [reverse_colours(image) for image in images]
        # Nobody sees the input, so its memory can serve the next call; another thread has its own.
        prepared = self._prepare(images, imgsz, rect, getattr(self._memory, "inputs", None))
        self._memory.inputs = prepared.inputs
        boxes_xyxy, scores = self.engine(prepared.inputs)
        if selection.tta:
            mirrored = self.engine(np.ascontiguousarray(prepared.inputs[..., ::-1]))
            boxes_xyxy, scores = join_mirrored((boxes_xyxy, scores), mirrored, prepared.inputs.shape[3])
        return self.finish(prepared, boxes_xyxy, scores, selection, multi_label=multi_label)

    def prepare(self, images: list[npt.NDArray[np.uint8]], *, imgsz: int | None = None, rect: bool = True) -> Prepared:
        """Do what comes before the network: channels, letterbox, scaling to 0..1.

        Args:
            images, imgsz, rect: see :meth:`detect`; at least one picture.

        Raises:
            ConfigError: an impossible size.
            SourceError: a picture of a shape or type the network cannot take.
        """
        return self._prepare(images, imgsz, rect, None)

    def _prepare(
        self,
        images: list[npt.NDArray[np.uint8]],
        imgsz: int | None,
        rect: bool,
        memory: npt.NDArray[np.float32] | None,
    ) -> Prepared:
        side = self._check_size(imgsz)
        pictures = [_with_channels(image, self.metadata.in_channels) for image in images]
        sizes = [(image.shape[1], image.shape[0]) for image in pictures]
        metadata = self.metadata
        rect = rect and self.canvas is None
        plans = plan_batch(sizes, side, metadata.stride, rect, metadata.resize, metadata.place)
        return Prepared(network_input(pictures, plans, memory), plans, sizes)

    def finish(
        self,
        prepared: Prepared,
        boxes_xyxy: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32],
        selection: Selection = SELECTION,
        *,
        multi_label: bool = False,
    ) -> list[supervision.Detections]:
        """Do what comes after the network.

        It applies the threshold and, where needed, NMS, and puts boxes back onto each picture.

        Args:
            prepared: what the network was given.
            boxes_xyxy: (B, A, 4) in pixels of the canvas.
            scores: (B, A, classes) in 0..1.
            selection, multi_label: see :meth:`detect`.
        """
        import supervision

        names = np.array(self.class_names)
        floors = selection.floors(self.class_names)
        results = []
        for (width, height), plan, boxes, class_scores in zip(
            prepared.sizes, prepared.plans, boxes_xyxy, scores, strict=True
        ):
            boxes, confidences, labels = select_detections(
                boxes,
                class_scores,
                selection,
                nms=self.metadata.nms or selection.tta,  # what two passes find, each finds once
                multi_label=multi_label,
                floors=None if floors is None else np.array(floors, np.float32),
            )
            boxes = plan.boxes_to_image(boxes, width, height)
            inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # a box on the padding alone has nothing left
            results.append(
                supervision.Detections(
                    xyxy=boxes[inside],
                    confidence=confidences[inside],
                    class_id=labels[inside],
                    data={"class_name": names[labels[inside]]},
                )
            )
        return results

    def val(
        self,
        data: str | Path,
        split: str = "val",
        *,
        imgsz: int | None = None,
        batch: int = 16,
        **select: Unpack[Limits],
    ) -> Metrics:
        """Score on a split of a data set with COCO metrics, values 0..1.

        Args:
            data: a folder of any layout, or a file that stands for it.
            split: its part to score on.
            imgsz: see :meth:`detect`.
            batch: pictures in one call of the network.
            **select: ``confidence``, ``iou``, ``max_detections``, ``vote``, ``tta``, see
                :class:`ghostyolo.thresholds.MetricSelection`.

        Raises:
            ConfigError, DataError: weights and data have different classes, or there is nothing to score on.
        """
        from ghostyolo.data.split import load_split
        from ghostyolo.evaluate import evaluate

        dataset = load_split(data, split, self.weights).checked(split)
        return evaluate(
            self,
            dataset.splits[split],
            dataset.class_names,
            MetricSelection.from_dict(settle_limits(select, self.metadata.best_confidence), "val"),
            imgsz=imgsz,
            batch=batch,
        ).metrics

    def benchmark(
        self,
        images: Source | Iterable[Source] | None = None,
        *,
        imgsz: int | None = None,
        batch: int = 1,
        runs: int = 50,
        warmup: int = 5,
    ) -> Timing:
        """Time letterbox, network and NMS in this process, one call after the other.

        ``ghostyolo benchmark`` measures several models in turn, each in a process of its own, and their memory too.

        Args:
            images: pictures to run on; None: built-in ones.
            imgsz: side of the square canvas; None: the side the model was trained at.
            batch: pictures in one call.
            runs, warmup: timed calls, and untimed ones before them.

        Raises:
            ConfigError: an impossible option.
            SourceError: pictures that cannot be read.
        """
        from ghostyolo.runtime.timing import time_predictor

        return time_predictor(self, images, imgsz=imgsz, batch=batch, runs=runs, warmup=warmup)

    def _selection(self, select: Limits, where: str) -> Selection:
        """The limits, checked against the classes of the weights."""
        selection = Selection.from_dict(settle_limits(select, self.metadata.best_confidence), where)
        selection.floors(self.class_names)
        return selection

    def _check_size(self, imgsz: int | None) -> int | tuple[int, int]:
        """The side of the square to letterbox to, or the canvas of a file that takes only one."""
        if imgsz is not None and not isinstance(imgsz, numbers.Integral):
            raise ConfigError(f"imgsz must be the side of a square in pixels, not {imgsz!r}")
        if self.canvas is not None:
            height, width = self.canvas
            if imgsz not in (None, max(self.canvas)):
                raise ConfigError(
                    f"imgsz is {imgsz}, but these weights take {width} x {height} pixels only: leave it out, or export "
                    f"with --imgsz {imgsz}"
                )
            return self.canvas
        side = self.metadata.imgsz if imgsz is None else imgsz
        check_imgsz(side, self.metadata.stride)
        return side


def load(
    weights: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    layout: str | None = None,
    engine_options: Mapping[str, Any] | None = None,
) -> Predictor:
    """Open a detector for prediction.

    Args:
        weights: a built-in name (``"bccd"``), a file (``.onnx``, ``.safetensors`` ...) or folder (``x_openvino``) of
            weights, or ``hf://owner/repo/file``.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: CPU threads for one network call; None lets the engine choose.
        engine_options: settings of the engine by its own names (docs/export.md, "Options of an engine").
        layout: how another program's ONNX file answers (docs/export.md); None: find out.

    Returns:
        What detects: ``load("bccd")("photo.jpg")`` at once, ``.predict(sources)`` one picture after the other,
        ``.detect([array])`` a batch of arrays, ``.val(data)`` scores, ``.benchmark()`` times.

    Raises:
        WeightsError: no such weights, or a damaged, foreign or pickled file.
        ConfigError: an unknown or absent device, or an option that the engine does not know.
        MissingExtraError: ``.safetensors`` in an install without torch.
    """
    if not isinstance(weights, str | Path):
        raise WeightsError(f"weights are a name, a path or an address, not {type(weights).__name__}")
    if not isinstance(device, str):
        raise ConfigError(f"device must be a text such as 'cpu' or 'cuda:0', not {device!r}")
    if threads is not None:
        _check_whole("threads", threads)
    path = resolve_weights(weights)
    return Predictor(open_engine(path, device, threads, engine_options, layout), path)


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ConfigError(f"{name} must be a whole number, not {value!r}")
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, not {value}")


def _predictions(
    frames: Sources,
    batch: int,
    run: Callable[[list[npt.NDArray[np.uint8]]], list[supervision.Detections]],
    report: bool,
) -> Iterator[Prediction]:
    import supervision  # noqa: F401  its import takes a second or more, which would count as the first picture's time

    for group in _grouped(frames, batch):
        start = time.perf_counter()
        found = run([frame.image for frame in group])
        milliseconds = (time.perf_counter() - start) * 1000 / len(group)
        for frame, detections in zip(group, found, strict=True):
            yield Prediction(frame, detections, milliseconds)
    if report:
        for line in frames.missing():
            logger.warning("%s", line)


def plan_batch(
    sizes: list[tuple[int, int]],
    imgsz: int | tuple[int, int],
    stride: int,
    rect: bool,
    resize: Resize = TRAINED_RESIZE,
    place: Place = "centre",
) -> list[Letterbox]:
    """Plan one canvas for pictures of these (width, height).

    Its sides are the largest that any needs.
    """
    plans = [plan_letterbox(width, height, imgsz, stride, rect, resize, place) for width, height in sizes]
    canvas_width = max(plan.width for plan in plans)
    canvas_height = max(plan.height for plan in plans)
    return [
        plan.on_canvas(width, height, canvas_width, canvas_height)
        for plan, (width, height) in zip(plans, sizes, strict=True)
    ]


def _with_channels(image: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Give a picture the network's channel count: (H, W, channels)."""
    if not isinstance(image, np.ndarray):
        raise SourceError(f"a picture must be a uint8 array (H, W, C), not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise SourceError(f"a picture must be uint8 (H, W, C), not {image.dtype} {image.shape}")
    if image.ndim == 2:
        image = image[:, :, None]
    given = image.shape[2]
    if given == channels:
        return image
    if channels == 3 and given == 1:
        return np.repeat(image, 3, axis=2)
    if channels == 3 and given == 4:
        return np.ascontiguousarray(image[:, :, :3])
    if channels == 1 and given in (3, 4):
        return cv2.cvtColor(np.ascontiguousarray(image[:, :, :3]), cv2.COLOR_RGB2GRAY)[:, :, None]
    raise SourceError(f"a picture has {given} channels, the network takes {channels}")


def _grouped(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
