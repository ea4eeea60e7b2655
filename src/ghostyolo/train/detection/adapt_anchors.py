"""Anchors of a fresh detector, fitted to its data."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ghostyolo.data.fit_anchors import anchor_recall, box_sizes, fit_anchors
from ghostyolo.data.records import DetectionData
from ghostyolo.models.detector import DetectionModel

ENOUGH_RECALL = 0.98


def declares_anchors(network: DetectionModel) -> bool:
    """Say whether there is nothing to fit.

    The head is another one, or its declaration gives the anchors.
    """
    head = network.config.head
    return head.type != "anchor" or head.params.get("anchors") is not None


def adopt_anchors(network: DetectionModel, anchors: Any) -> None:
    """Give these anchors to the head and to its declaration.

    So checkpoints have them.
    """
    head = network.config.head
    network.head.set_anchors(anchors)
    head = head.model_copy(update={"params": {**head.params, "anchors": anchors}})
    network.config = network.config.model_copy(update={"head": head})


def adapt_anchors(network: DetectionModel, data: DetectionData, imgsz: int, *, seed: int, console: Console) -> None:
    """Replace default anchors that miss many boxes by the data's.

    In place, where they miss more than 2 % of the training boxes.

    Declared anchors stay as they are. Says in one line what was done, nothing where the default ones do.

    Args:
        imgsz: side of the training pictures, pixels.
        seed: same seed, same anchors on one machine.
    """
    if declares_anchors(network):
        return
    sizes = box_sizes(data.splits.get("train", []), imgsz)
    default = network.head.anchors.tolist()
    levels, each = len(default), len(default[0])
    if not len(sizes):
        _say(console, "the default ones are kept, the training split has no boxes to fit them to")
        return
    before = anchor_recall(sizes, default)
    if before >= ENOUGH_RECALL:
        return
    if len(sizes) < levels * each:
        why = f"{len(sizes)} training boxes are too few for {levels * each} anchors"
        _say(console, f"the default ones are kept (recall {before:.3f}), {why}")
        return
    anchors = fit_anchors(sizes, count=levels * each, levels=levels, seed=seed)
    after = anchor_recall(sizes, anchors)
    if after <= before:
        _say(console, f"the default ones are kept: recall {before:.3f}, and {after:.3f} with those of the data")
        return
    adopt_anchors(network, anchors)
    _say(console, f"recall {before:.3f} with the default ones, {after:.3f} with those of the data, which are taken")


def _say(console: Console, line: str) -> None:
    console.print(f"anchors: {line}", highlight=False, soft_wrap=True)
