"""The augmentation of one training batch.

Pictures and boxes in, network input and targets out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostyolo.data.augment.color import jitter_hsv
from ghostyolo.data.augment.config import AugmentConfig
from ghostyolo.data.augment.geometry import Affine, random_affine, warp_boxes
from ghostyolo.data.augment.mosaic import Layout, partners, random_layout, sample_outputs, stack_pictures
from ghostyolo.data.letterbox import resized_size
from ghostyolo.data.targets import Targets


class BatchAugment:
    """Augments a batch on the device that its pictures are on.

    Mosaic, random affine, flips, HSV jitter and mixup.

    All random numbers come from the generator given to each call and are drawn on the CPU, so the same
    generator state gives the same batch on every device.
    """

    def __init__(self, config: AugmentConfig, imgsz: int) -> None:
        """``imgsz``: side of the square output in pixels."""
        self.config = config
        self.imgsz = imgsz
        self._sheet: Tensor | None = None

    @torch.no_grad()
    def __call__(
        self,
        images: Sequence[Tensor],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        *,
        generator: torch.Generator,
        mosaic: bool,
        known: Tensor | None = None,
    ) -> tuple[Tensor, Targets]:
        """Augment B pictures of any sizes (1, 3 or more channels, the same for all).

        Args:
            images: B uint8 tensors (C, h_i, w_i). A long side other than ``imgsz`` is resized first; give
                pictures that fit, as ``DetectionDataset`` does, to save that time.
            boxes: B tensors (M_i, 4), xyxy in pixels of their picture; M_i may be 0.
            labels: B tensors (M_i,).
            generator: a CPU generator.
            mosaic: False in the last epochs: each output then shows its own picture only, letterboxed.
            known: (B, C) bool, classes that each picture's labels know. Only pictures whose labels know the same are
                mixed, so that it holds for every part of an output.

        Returns:
            float32 (B, C, imgsz, imgsz) in 0..1 and the targets in its pixels; for B = 0 empty, with C = 3.
        """
        if not images:
            return torch.zeros(0, 3, self.imgsz, self.imgsz), _no_targets()
        config, device, count = self.config, images[0].device, len(images)
        images, boxes = _fit(images, boxes, self.imgsz)
        sizes = torch.tensor([[image.shape[2], image.shape[1]] for image in images])

        groups = None if known is None else known.unique(dim=0, return_inverse=True)[1].cpu()
        layout = random_layout(sizes, self.imgsz, config.mosaic if mosaic else 0.0, generator, groups).to(device)
        affine = random_affine(count, config, self.imgsz, generator).to(device)
        gains = torch.rand(3, count, generator=generator) * 2 - 1
        hue = (gains[0] * config.hsv_h).to(device)
        saturation, value = (1 + gains[1] * config.hsv_s).to(device), (1 + gains[2] * config.hsv_v).to(device)

        out = torch.empty(count, images[0].shape[0], self.imgsz, self.imgsz, device=device)
        in_color = out.shape[1] == 3
        jitters = max(config.hsv_h, config.hsv_s, config.hsv_v) > 0 if in_color else config.hsv_v > 0
        self._sheet = stack_pictures(images, self.imgsz, reuse=self._sheet)
        for part, planes in sample_outputs(self._sheet, layout, affine, self.imgsz):
            planes.mul_(1 / 255)
            target = out[part].transpose(0, 1)
            if jitters and in_color:
                jitter_hsv(planes, hue[part], saturation[part], value[part], target)
            elif jitters:
                # Hue and saturation are of three colours; brightness is of any channels.
                torch.mul(planes, value[part].view(-1, 1, 1), out=target).clamp_(max=1)
            else:
                target.copy_(planes)

        objects = _place_objects(boxes, labels, layout, affine, self.imgsz)
        if config.mixup > 0:
            objects = _mixup(out, *objects, config.mixup, generator, groups)
        return out, _pack(*objects, known)


def _no_targets() -> Targets:
    no_labels = torch.zeros(0, 0, dtype=torch.long)
    return Targets(torch.zeros(0, 0, 4), no_labels, no_labels.bool())


def _fit(images: Sequence[Tensor], boxes: Sequence[Tensor], imgsz: int) -> tuple[list[Tensor], list[Tensor]]:
    """Resize the pictures whose long side is not ``imgsz``, and their boxes."""
    fitted_images, fitted_boxes = [], []
    for image, box in zip(images, boxes, strict=True):
        _, height, width = image.shape
        longest = max(height, width)
        if longest != imgsz:
            new_width, new_height = resized_size(width, height, imgsz / longest)
            image = F.interpolate(image[None].float(), (new_height, new_width), mode="bilinear", antialias=True)[0]
            ratio_x, ratio_y = new_width / width, new_height / height
            box = box * torch.tensor([ratio_x, ratio_y, ratio_x, ratio_y], device=box.device)
        fitted_images.append(image)
        fitted_boxes.append(box)
    return fitted_images, fitted_boxes


def _place_objects(
    boxes: Sequence[Tensor], labels: Sequence[Tensor], layout: Layout, affine: Affine, imgsz: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Collect each output's objects: boxes (B, 4M, 4) in its pixels, labels (B, 4M), kept (B, 4M) bool."""
    objects = Targets.from_lists([box.float() for box in boxes], list(labels))
    move = (layout.meet[:, None] - layout.offset).repeat(1, 1, 2)  # picture to canvas, (B, 4, 4)
    on_canvas = objects.boxes_xyxy[layout.sources] + move[:, :, None]
    # A lone picture fills all four quadrants; its objects count once.
    shown = layout.is_mosaic[:, None] | (torch.arange(4, device=move.device) == 0)
    present = objects.mask[layout.sources] & shown[:, :, None]
    placed, visible = warp_boxes(on_canvas.flatten(1, 2), affine, imgsz)
    placed_labels = objects.labels[layout.sources].flatten(1)
    # What is left of a region to ignore is still to be ignored, however small.
    return placed, placed_labels, present.flatten(1) & (visible | (placed_labels < 0))


def _mixup(
    images: Tensor,
    boxes: Tensor,
    labels: Tensor,
    kept: Tensor,
    probability: float,
    generator: torch.Generator,
    groups: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend some outputs, in place, with another of the batch by a Beta(32, 32) share.

    Returns:
        boxes (B, 8M, 4), labels (B, 8M) and kept (B, 8M) with the partner's objects behind the own.
    """
    count, device = len(images), images.device
    partner = partners(torch.randint(1, max(count, 2), (count, 1), generator=generator), groups)[:, 0]
    chosen = torch.rand(count, generator=generator) < probability
    if groups is not None:
        chosen &= partner != torch.arange(count)  # alone in its group
    # The middle one of 63 uniform numbers follows Beta(32, 32), and needs no sampler but the generator's own.
    share = torch.rand(count, 63, generator=generator).median(dim=1).values
    if count == 1 or not chosen.any():
        return boxes, labels, kept
    rows = chosen.nonzero()[:, 0].to(device)
    partner, share = partner.to(device), share.to(device)
    # Right side first: a picture gives what it showed before it was blended itself.
    images[rows] = torch.lerp(images[partner[rows]], images[rows], share[rows].view(-1, 1, 1, 1))
    borrowed = kept[partner] & chosen.to(device)[:, None]
    return (
        torch.cat([boxes, boxes[partner]], dim=1),
        torch.cat([labels, labels[partner]], dim=1),
        torch.cat([kept, borrowed], dim=1),
    )


def _pack(boxes: Tensor, labels: Tensor, kept: Tensor, known: Tensor | None) -> Targets:
    """Move the kept rows to the front, in order, and cut the rest off."""
    longest = int(kept.sum(1).max()) if kept.shape[1] else 0
    order = torch.argsort(~kept, dim=1, stable=True)[:, :longest]
    mask = kept.gather(1, order)
    labels = labels.gather(1, order) * mask
    boxes = boxes.gather(1, order[:, :, None].expand(-1, -1, 4))
    # where, not a product: a dropped box may hold NaN.
    return Targets(torch.where(mask[:, :, None], boxes, 0.0), labels, mask, known)
