"""Losses beside a teacher: nothing to learn from oneself, gradients where they belong, all pairs of heads."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from ghostyolo.errors import ConfigError
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.heads.outputs import EndToEndOutput
from ghostyolo.nn.reparam import fold
from ghostyolo.train.distil.distiller import Distiller, build_distiller
from ghostyolo.train.distil.teacher import DetectionTeacher
from tests.train import tiny
from tests.train.distil import networks

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def distiller(student, teacher, tmp_path, **recipe) -> tuple[Distiller, str]:
    """Built as a run builds it, from a file; and what was said."""
    said = io.StringIO()
    path = networks.save(teacher, tmp_path / "teacher.safetensors")
    metadata = ModelMetadata(model="tiny", class_names=tiny.CLASS_NAMES, imgsz=64)
    options = tiny.recipe(teacher=str(path), **recipe)
    built, _ = build_distiller(student, metadata, options, Console(file=said, width=300))
    assert built is not None
    return built, said.getvalue().replace(str(path), "BIG")


def losses(student, built: Distiller) -> dict[str, torch.Tensor]:
    features = student.features(IMAGES)
    return built.losses(IMAGES, features, student.head(features))


@pytest.mark.parametrize("head", ["dfl", "end2end", "yolox", "anchor"])
def test_nothing_is_to_be_learned_from_oneself(tmp_path, head) -> None:
    student = networks.network(head).eval()
    built, said = distiller(student, student, tmp_path)
    student.head.train()  # raw predictions; the heads' batch norms as in evaluation
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    found = losses(student, built)
    assert set(found) == {"kd_logits", "kd_boxes", "kd_features"}
    for name, loss in found.items():
        assert loss.item() == pytest.approx(0, abs=1e-5), name
    assert not list(built.adapters.parameters())
    assert "not logits" not in said


@pytest.mark.parametrize(
    ("own", "theirs", "note"),
    [
        ("dfl", "dfl", "boxes x 1,"),
        ("dfl", "more bins", "boxes x 1 (decoded: the heads have other bins),"),
        ("dfl", "yolox", "boxes x 1 (decoded),"),
        ("yolox", "dfl", "boxes x 1 (decoded),"),
        ("yolox", "yolox", "boxes x 1 (decoded),"),
        ("end2end", "yolox", "boxes x 1 (decoded),"),
        ("dfl", "end2end", "boxes x 1,"),
        ("anchor", "anchor", "boxes x 1 (decoded),"),
    ],
)
def test_gradients_reach_student_and_adapters_and_never_the_teacher(tmp_path, own, theirs, note) -> None:
    student = networks.network(own).train()
    built, said = distiller(student, networks.network(theirs, "test-wide", seed=1), tmp_path)
    assert said == (f"teacher BIG teaches logits x 1, {note} features x 5 (1x1 adapters); tau 2, strides 8, 16, 32\n")
    assert {key: tuple(layer.weight.shape[:2]) for key, layer in built.adapters.items()} == {
        "8": (12, 8), "32": (20, 16)
    }  # fmt: skip
    found = losses(student, built)
    for name, loss in found.items():
        assert loss.item() > 0, name
        student.zero_grad()
        loss.backward(retain_graph=True)
        assert student.backbone.fine[0].weight.grad.abs().sum() > 0, name
    assert all(adapter.weight.grad.abs().sum() > 0 for adapter in built.adapters.values())
    assert not any(p.requires_grad or p.grad is not None for p in built.teacher.net.parameters())


def test_weights_multiply_parts_and_only_those_given_are_computed(tmp_path) -> None:
    student = networks.network().eval()
    student.head.training = True
    one, _ = distiller(student, networks.network(seed=1), tmp_path, distil="logits=1,boxes=1")
    two, _ = distiller(student, networks.network(seed=1), tmp_path, distil="logits=3")
    assert set(losses(student, two)) == {"kd_logits"}
    assert losses(student, two)["kd_logits"].item() == pytest.approx(3 * losses(student, one)["kd_logits"].item())


def test_levels_are_matched_by_stride(tmp_path) -> None:
    student = networks.network().train()
    images = torch.rand(2, 3, 64, 128)
    built, said = distiller(student, networks.network(backbone="test-coarse", seed=1), tmp_path)
    assert said.endswith("strides 32\n")
    features = student.features(images)
    output = student.head(features)
    found = built.losses(images, features, output)
    taught_features, taught = built.teacher.look(images)
    cells = 2 * 4  # of stride 32
    weights = taught.cls_logits[:, :cells].sigmoid().amax(-1)
    own, theirs = (logits.sigmoid() for logits in (output.cls_logits[:, -cells:] / 2, taught.cls_logits[:, :cells] / 2))
    divergence = theirs * (theirs / own).log() + (1 - theirs) * ((1 - theirs) / (1 - own)).log()
    expected = 4 * (divergence.sum(-1) * weights).sum() / weights.sum().clamp(min=1)
    assert found["kd_logits"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert [feature.shape[-1] for feature in taught_features] == [4, 2]


@pytest.mark.parametrize(
    ("own", "theirs", "why"),
    [
        ("anchor", "dfl", "the student's head predicts at anchors, the teacher's at cells"),
        ("yolox", "anchor", "the student's head predicts at cells, the teacher's at anchors"),
        ("anchor", "other anchors", "the heads have other anchors"),
    ],
)
def test_heads_that_cannot_be_compared_leave_the_features(tmp_path, own, theirs, why) -> None:
    student, teacher = networks.network(own).train(), networks.network(theirs, "test-wide")
    built, said = distiller(student, teacher, tmp_path)
    assert said == (
        f"teacher BIG teaches features x 5 (1x1 adapters); tau 2, strides 8, 16, 32; not logits and boxes: {why}\n"
    )
    assert set(losses(student, built)) == {"kd_features"}
    with pytest.raises(ConfigError, match=f"cannot teach boxes: {why}; leave it out of distil"):
        distiller(student, teacher, tmp_path, distil="boxes,features")


def test_an_end_to_end_teacher_teaches_each_branch_its_own(tmp_path) -> None:
    student = networks.network("end2end").train()
    built, _ = distiller(student, networks.network("end2end", seed=1), tmp_path, distil="logits")
    losses(student, built)["kd_logits"].backward()
    for branch in (student.head.one_to_many, student.head.one_to_one):
        assert branch.cls[0][-1].weight.grad.abs().sum() > 0
    assert isinstance(built.teacher.look(IMAGES)[1], EndToEndOutput)
    # Its deployed form has one branch, which finds each object at one cell: none of a plain student's.
    deployed = fold(networks.network("end2end"))
    path = networks.save(deployed, tmp_path / "deployed.safetensors", deployed=True)
    metadata = ModelMetadata(model="tiny", class_names=tiny.CLASS_NAMES, imgsz=64)
    with pytest.raises(ConfigError, match="only one of the heads finds each object at one cell"):
        build_distiller(
            networks.network("dfl"), metadata, tiny.recipe(teacher=str(path), distil="logits"), Console(quiet=True)
        )


def test_a_teacher_is_folded_frozen_and_gives_what_it_gives_in_evaluation() -> None:
    network = networks.network("dfl").eval()
    teacher = DetectionTeacher("big", network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in teacher.net.modules())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, output = teacher.look(IMAGES)
    assert {tensor.dtype for tensor in (*features, output.cls_logits, output.box_logits)} == {torch.float32}
    with torch.no_grad():
        boxes_xyxy, scores = network(IMAGES)
        found = teacher.net.head.decode(output)
    torch.testing.assert_close(found[0], boxes_xyxy, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found[1], scores, rtol=1e-4, atol=1e-5)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_networks_without_a_common_stride_are_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="has strides 2, 4, the student 8, 16, 32"):
        distiller(networks.network(), networks.network(backbone="test-fine"), tmp_path)
