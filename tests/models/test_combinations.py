"""Every backbone with every neck and head: runs, folds exactly, learns four real pictures.

A few combinations are in the default run; all are slow. The registry drives the list: a new part is tested when it is
registered.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from ghostyolo.data.formats import load_dataset
from ghostyolo.data.images import read_image
from ghostyolo.data.letterbox import apply_letterbox, plan_letterbox
from ghostyolo.data.targets import Targets
from ghostyolo.losses.registry import build_criterion
from ghostyolo.models import DetectionModel
from ghostyolo.models.config import DetectorConfig
from ghostyolo.models.registry import find_part, list_parts
from ghostyolo.nn.reparam import fold, is_folded

SIDE = 96
MOST_STEPS = 150

# They take the name of any network of their library; the friendly names stand for them.
GENERIC = {"timm", "torchvision"}


def ours(kind: str) -> list[str]:
    """Parts of the package: other tests register some of their own."""
    return [
        name
        for name in list_parts(kind)
        if name not in GENERIC and find_part(kind, name).builder.__module__.startswith("ghostyolo.")
    ]


BACKBONES, NECKS, HEADS = ours("backbone"), ours("neck"), ours("head")
COMBINATIONS = list(itertools.product(BACKBONES, NECKS, HEADS))
# Each part once at least, without the long product.
FEW = set(
    zip(
        BACKBONES,
        itertools.cycle(NECKS),
        itertools.cycle(HEADS),
        strict=False,
    )
)
QUICK = {("ghostnetv3", "hyperace_fullpad", "dfl")}


def combinations(quick: set[tuple[str, str, str]]) -> list:
    return [
        pytest.param(*parts, id="+".join(parts), marks=() if parts in quick else pytest.mark.slow)
        for parts in COMBINATIONS
    ]


def build(backbone: str, neck: str, head: str, num_classes: int = 3) -> DetectionModel:
    parts = {"backbone": backbone, "neck": neck, "head": head, "scale": "p"}
    torch.manual_seed(0)
    return DetectionModel(DetectorConfig.from_dict(parts, "test"), num_classes)


def random_statistics(model: torch.nn.Module) -> None:
    """Batch norms that do something: fresh ones fold rightly by chance."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for tensor, low in ((module.weight, 0.7), (module.running_var, 0.7)):
                tensor.data = low + 0.6 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            for tensor in (module.bias, module.running_mean):
                tensor.data = 0.1 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)


@pytest.mark.parametrize(("backbone", "neck", "head"), combinations(FEW))
def test_it_runs_and_folds_exactly(backbone, neck, head):
    model = build(backbone, neck, head)
    output = model.train()(torch.rand(2, 3, 64, 64))
    criterion = build_criterion(head, model.head)
    targets = Targets.from_lists([torch.tensor([[4.0, 8.0, 40.0, 60.0]]), torch.zeros(0, 4)], [torch.tensor([1])] * 2)
    targets.mask[1] = False
    criterion(output, targets)["loss"].backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())

    model = model.double().eval()
    random_statistics(model)
    folded = fold(model)
    assert is_folded(folded)
    images = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        for expected, found in zip(model(images), folded(images), strict=True):
            scale = expected.abs().max()
            torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-8)


@pytest.fixture(scope="session")
def four_pictures(bccd) -> tuple[torch.Tensor, Targets]:
    """Four training pictures of blood cells, letterboxed."""
    images, boxes, labels = [], [], []
    for record in load_dataset(bccd).splits["train"][:4]:
        picture = read_image(record.path)
        plan = plan_letterbox(picture.shape[1], picture.shape[0], SIDE)
        images.append(torch.from_numpy(apply_letterbox(picture, plan)).permute(2, 0, 1) / 255)
        boxes.append(torch.from_numpy(plan.boxes_to_canvas(record.boxes_xyxy, record.width, record.height)).float())
        labels.append(torch.from_numpy(record.labels).long())
    return torch.stack(images), Targets.from_lists(boxes, labels)


@pytest.mark.parametrize(("backbone", "neck", "head"), combinations(QUICK))
def test_it_learns_four_real_pictures(backbone, neck, head, four_pictures):
    images, targets = four_pictures
    model = build(backbone, neck, head).train()
    criterion = build_criterion(head, model.head)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0)
    losses = []
    while not losses or (losses[-1] > 0.5 * losses[0] and len(losses) < MOST_STEPS):
        loss = criterion(model(images), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] <= 0.5 * losses[0]
