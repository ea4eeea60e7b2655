"""BatchAugment: what is in the picture and what the targets say agree, for every kind of batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ghostyolo.data.augment.batch import BatchAugment
from ghostyolo.data.augment.config import AugmentConfig
from ghostyolo.data.targets import Targets

PLAIN = AugmentConfig(mosaic=0.0, translate=0.0, scale=0.0, fliplr=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(**changes: float) -> AugmentConfig:
    return PLAIN.model_copy(update=changes)


def picture_with_box(channel: int, channels: int, width: int, height: int, box: list[int]) -> Tensor:
    """Black, with a white rectangle in one channel."""
    image = torch.zeros(channels, height, width, dtype=torch.uint8)
    x1, y1, x2, y2 = box
    image[channel, y1:y2, x1:x2] = 255
    return image


def white_extent(plane: Tensor, near: Tensor, margin: int = 3) -> Tensor:
    """xyxy of the pixels above one half within ``margin`` pixels of a box."""
    x1, y1 = (near[:2].floor().long() - margin).clamp_min(0).tolist()
    x2, y2 = (near[2:].ceil().long() + margin).tolist()
    ys, xs = (plane[y1:y2, x1:x2] > 0.5).nonzero().unbind(1)
    return torch.tensor([xs.min() + x1, ys.min() + y1, xs.max() + x1 + 1, ys.max() + y1 + 1]).float()


def four_pictures() -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Picture i has one object, of class i, white in channel i only.

    None touches its picture's border, since white fading to padding's grey passes one half late.
    """
    sizes = [(128, 96), (96, 128), (128, 128), (128, 50)]
    boxes = [[20, 30, 70, 61], [10, 80, 41, 120], [60, 3, 121, 47], [33, 5, 64, 44]]
    images = [picture_with_box(i, 4, *sizes[i], boxes[i]) for i in range(4)]
    return images, [torch.tensor([box]).float() for box in boxes], [torch.tensor([i]) for i in range(4)]


def check_boxes_fit(images: Tensor, targets: Targets, tolerance: float) -> int:
    """Every target's box is the extent of its class's white pixels; returns how many were checked."""
    checked = 0
    for image, boxes, labels, mask in zip(images, targets.boxes_xyxy, targets.labels, targets.mask, strict=True):
        for box, label in zip(boxes[mask], labels[mask], strict=True):
            extent = white_extent(image[label], box)
            assert (extent - box).abs().max() <= tolerance, (extent, box)
            checked += 1
    return checked


@pytest.mark.parametrize("mosaic", [True, False])
def test_boxes_fit_their_objects_to_half_a_pixel(mosaic: bool):
    augment = BatchAugment(AugmentConfig(flipud=0.5, hsv_v=0.0), 128)
    checked = 0
    for seed in range(12):
        images, targets = augment(*four_pictures(), generator=generator(seed), mosaic=mosaic)
        checked += check_boxes_fit(images, targets, 0.51)
    assert checked > (80 if mosaic else 35)


def test_boxes_fit_turned_and_sheared_objects():
    # A turned corner is a tip narrower than a pixel, so its last pixel stays below one half.
    augment = BatchAugment(AugmentConfig(degrees=30, shear=10, hsv_v=0.0), 128)
    checked = 0
    for seed in range(12):
        images, targets = augment(*four_pictures(), generator=generator(seed), mosaic=False)
        inside = (targets.boxes_xyxy > 2).all(-1) & (targets.boxes_xyxy < 126).all(-1)
        targets.mask &= inside  # cut at the border, the enclosing box is wider than what is left in view
        checked += check_boxes_fit(images, targets, 1.5)
    assert checked > 10


def test_every_object_in_view_has_its_box():
    augment = BatchAugment(AugmentConfig(hsv_v=0.0), 128)  # padding that is brightened would pass for white
    for seed in range(6):
        images, targets = augment(*four_pictures(), generator=generator(seed), mosaic=True)
        for image, boxes, labels, mask in zip(images, targets.boxes_xyxy, targets.labels, targets.mask, strict=True):
            uncovered = image > 0.5
            for box, label in zip(boxes[mask], labels[mask], strict=True):
                x1, y1, x2, y2 = box.round().long().tolist()
                uncovered[label, max(0, y1 - 1) : y2 + 1, max(0, x1 - 1) : x2 + 1] = False
            # Only remains below a tenth of an object (at most 2684 x 1.5 x 1.5 pixels) may lack a box.
            assert uncovered.flatten(1).sum(1).max() < 600


def test_without_augmentation_the_picture_is_letterboxed_unchanged():
    image = torch.randint(0, 256, (3, 40, 64), dtype=torch.uint8, generator=generator())
    box = torch.tensor([[4.0, 5.0, 20.0, 30.0]])
    out, targets = BatchAugment(PLAIN, 64)([image], [box], [torch.tensor([7])], generator=generator(), mosaic=True)
    assert out.shape == (1, 3, 64, 64)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out[0, :, 12:52], image / 255, rtol=0, atol=1e-4)
    torch.testing.assert_close(out[0, :, :12], torch.full((3, 12, 64), 114 / 255))
    assert targets.boxes_xyxy.tolist() == [[[4.0, 17.0, 20.0, 42.0]]]
    assert targets.labels.tolist() == [[7]]


def test_flips_mirror_picture_and_boxes():
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=generator())
    augment = BatchAugment(plain(fliplr=1.0, flipud=1.0), 64)
    out, targets = augment(
        [image], [torch.tensor([[4.0, 5.0, 20.0, 30.0]])], [torch.tensor([0])],
        generator=generator(), mosaic=False,
    )  # fmt: skip
    torch.testing.assert_close(out[0], image.flip(1, 2) / 255, rtol=0, atol=1e-4)
    assert targets.boxes_xyxy.tolist() == [[[44.0, 34.0, 60.0, 59.0]]]


def test_tiles_of_a_mosaic_meet_without_a_seam():
    images = [torch.full((3, 64, 64), 200, dtype=torch.uint8)] * 4
    out, _ = BatchAugment(plain(mosaic=1.0), 64)(
        images, [torch.zeros(0, 4)] * 4, [torch.zeros(0).long()] * 4, generator=generator(), mosaic=True
    )
    torch.testing.assert_close(out, torch.full_like(out, 200 / 255))


def test_a_mosaic_shows_its_own_picture_and_others():
    images, boxes, labels = four_pictures()
    config = plain(mosaic=1.0, scale=0.5, translate=0.0)
    seen_own, seen_others = 0, 0
    for seed in range(10):
        _, targets = BatchAugment(config, 128)(images, boxes, labels, generator=generator(seed), mosaic=True)
        for row in range(4):
            shown = targets.labels[row][targets.mask[row]].tolist()
            assert shown.count(row) <= 1
            seen_own += row in shown
            seen_others += len(set(shown) - {row}) >= 1
    assert seen_own > 15
    assert seen_others > 30


def test_the_same_generator_state_gives_the_same_batch():
    augment = BatchAugment(AugmentConfig(mixup=0.5, degrees=5), 128)
    shared = generator(3)
    first, first_targets = augment(*four_pictures(), generator=shared, mosaic=True)
    later, _ = augment(*four_pictures(), generator=shared, mosaic=True)
    again, again_targets = augment(*four_pictures(), generator=generator(3), mosaic=True)
    assert torch.equal(first, again)
    assert torch.equal(first_targets.boxes_xyxy, again_targets.boxes_xyxy)
    assert not torch.equal(first, later)


def test_outputs_of_one_call_outlive_the_next():
    augment = BatchAugment(AugmentConfig(), 128)
    first, _ = augment(*four_pictures(), generator=generator(1), mosaic=True)
    kept = first.clone()
    augment(*four_pictures(), generator=generator(2), mosaic=True)
    assert torch.equal(first, kept)


def test_a_reused_sheet_keeps_nothing_of_the_batch_before():
    augment, fresh = BatchAugment(PLAIN, 64), BatchAugment(PLAIN, 64)
    large = [torch.full((3, 64, 64), 250, dtype=torch.uint8)]
    small = [torch.full((3, 64, 20), 10, dtype=torch.uint8)]
    nothing = ([torch.zeros(0, 4)], [torch.zeros(0).long()])
    augment(large, *nothing, generator=generator(), mosaic=False)
    after, _ = augment(small, *nothing, generator=generator(), mosaic=False)
    alone, _ = fresh(small, *nothing, generator=generator(), mosaic=False)
    assert torch.equal(after, alone)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_without_objects_give_empty_targets(channels: int, count: int):
    images = [torch.randint(0, 256, (channels, 20 + 10 * i, 64), dtype=torch.uint8) for i in range(count)]
    out, targets = BatchAugment(AugmentConfig(mixup=1.0), 64)(
        images, [torch.zeros(0, 4)] * count, [torch.zeros(0).long()] * count,
        generator=generator(), mosaic=True,
    )  # fmt: skip
    assert out.shape == (count, channels, 64, 64)
    assert out.min() >= 0
    assert out.max() <= 1
    assert targets.boxes_xyxy.shape == (count, 0, 4)
    assert targets.mask.shape == (count, 0)


def test_a_batch_of_no_pictures_gives_empty_tensors():
    out, targets = BatchAugment(AugmentConfig(), 64)([], [], [], generator=generator(), mosaic=True)
    assert out.shape == (0, 3, 64, 64)
    assert targets.boxes_xyxy.shape == (0, 0, 4)
    assert targets.mask.dtype == torch.bool


def test_one_picture_alone_makes_a_mosaic_of_itself():
    images, boxes, labels = four_pictures()
    _, targets = BatchAugment(plain(mosaic=1.0, scale=0.5), 128)(
        images[:1], boxes[:1], labels[:1], generator=generator(2), mosaic=True
    )
    assert targets.mask.sum() > 1


def test_pictures_of_another_size_are_fitted_first():
    image = picture_with_box(0, 3, 320, 160, [100, 40, 200, 100])
    out, targets = BatchAugment(PLAIN, 64)(
        [image], [torch.tensor([[100.0, 40.0, 200.0, 100.0]])], [torch.tensor([0])],
        generator=generator(), mosaic=False,
    )  # fmt: skip
    assert targets.boxes_xyxy.tolist() == [[[20.0, 24.0, 40.0, 36.0]]]
    assert white_extent(out[0, 0], targets.boxes_xyxy[0, 0]).tolist() == [20.0, 24.0, 40.0, 36.0]


def test_mixup_blends_pictures_and_keeps_the_objects_of_both():
    images = [torch.full((3, 64, 64), value, dtype=torch.uint8) for value in (0, 255)]
    boxes = [torch.tensor([[4.0, 4.0, 20.0, 20.0]]), torch.tensor([[30.0, 30.0, 60.0, 60.0]])]
    out, targets = BatchAugment(plain(mixup=1.0), 64)(
        images, boxes, [torch.tensor([0]), torch.tensor([1])], generator=generator(), mosaic=False
    )
    shares = out.flatten(1)
    torch.testing.assert_close(shares.min(1).values, shares.max(1).values)
    assert ((shares[:, 0] > 0.2) & (shares[:, 0] < 0.8)).all()  # Beta(32, 32) has a deviation of 0.06
    assert targets.labels.tolist() == [[0, 1], [1, 0]]
    assert targets.boxes_xyxy[1].tolist() == [[30.0, 30.0, 60.0, 60.0], [4.0, 4.0, 20.0, 20.0]]


def test_padding_is_at_the_end_and_zero():
    images = [torch.zeros(3, 64, 64, dtype=torch.uint8)] * 2
    nan = float("nan")
    boxes = [
        torch.tensor([[nan, 0.0, 9.0, 9.0], [4.0, 4.0, 20.0, 20.0], [1.0, 1.0, 2.0, 2.0]]),
        torch.tensor([[1.0, 1.0, 10.0, 10.0], [2.0, 2.0, 12.0, 12.0]]),
    ]
    _, targets = BatchAugment(PLAIN, 64)(
        images, boxes, [torch.tensor([5, 6, 7]), torch.tensor([8, 9])], generator=generator(), mosaic=False
    )
    assert targets.mask.tolist() == [[True, False], [True, True]]
    assert targets.labels.tolist() == [[6, 0], [8, 9]]
    assert targets.boxes_xyxy[0].tolist() == [[4.0, 4.0, 20.0, 20.0], [0.0] * 4]


@pytest.mark.gpu
def test_a_cuda_device_gives_the_same_batch():
    augment = BatchAugment(AugmentConfig(mixup=0.5, degrees=5), 128)
    images, boxes, labels = four_pictures()
    on_cpu, cpu_targets = augment(images, boxes, labels, generator=generator(), mosaic=True)
    moved = [[tensor.cuda() for tensor in tensors] for tensors in (images, boxes, labels)]
    on_gpu, gpu_targets = augment(*moved, generator=generator(), mosaic=True)
    assert on_gpu.device.type == "cuda"
    assert (on_gpu.cpu() - on_cpu).abs().mean() < 1e-3
    torch.testing.assert_close(gpu_targets.boxes_xyxy.cpu(), cpu_targets.boxes_xyxy, rtol=0, atol=1e-2)


def test_pictures_whose_labels_know_other_classes_are_not_mixed():
    images, boxes, labels = four_pictures()
    known = torch.tensor([[True, True, False, False]] * 2 + [[False, False, True, True]] * 2)
    for seed in range(8):
        augment = BatchAugment(plain(mosaic=1.0, mixup=1.0), 128)
        out, targets = augment(images, boxes, labels, generator=generator(seed), mosaic=True, known=known)
        assert targets.known is known
        others = ~known[:, :, None, None].expand(-1, -1, 128, 128)
        grey = (out == 114 / 255).all(1, keepdim=True)
        assert (out[others & ~grey] < 0.5).all()  # white is in the channel of the picture's class
        for picture in range(4):
            assert known[picture, targets.labels[picture, targets.mask[picture]]].all()


def test_a_batch_of_one_kind_is_mixed_as_one_whose_labels_know_all():
    images, boxes, labels = four_pictures()
    plainly = BatchAugment(plain(mosaic=1.0, mixup=0.5), 128)(images, boxes, labels, generator=generator(), mosaic=True)
    known = torch.tensor([[True, True, True, True, False]] * 4)
    alike = BatchAugment(plain(mosaic=1.0, mixup=0.5), 128)(
        images, boxes, labels, generator=generator(), mosaic=True, known=known
    )
    assert torch.equal(plainly[0], alike[0])
    assert torch.equal(plainly[1].boxes_xyxy, alike[1].boxes_xyxy)
