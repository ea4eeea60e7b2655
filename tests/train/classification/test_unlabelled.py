"""A backbone learns from pictures without labels, resumes, and goes into a detector."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
import timm
import torch
from rich.console import Console

from ghostyolo.errors import ConfigError, DataError
from ghostyolo.models import build_model
from ghostyolo.models.backbones.pretrained import load_backbone
from ghostyolo.models.weights import load_classifier, read_checkpoint
from ghostyolo.train.classification.feature_teacher import build_feature_teacher
from ghostyolo.train.classification.start import pretrain
from ghostyolo.train.classification.unlabelled import UnlabelledModule
from ghostyolo.train.recipe import ClassRecipe

MODEL = "ghostnetv1:width=0.25"
OPTIONS = {
    "labels": False, "epochs": 2, "imgsz": 32, "batch": 4, "warmup_epochs": 0.0, "device": "cpu", "tensorboard": False,
    "lr": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight pictures in a folder and its subfolder, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    random = np.random.default_rng(0)
    for number in range(8):
        picture = cv2.resize(random.integers(0, 256, (4, 4, 3), np.uint8), (40, 36))
        cv2.imwrite(str(folder / ("more" if number % 2 else ".") / f"{number}.png"), picture)
    (folder / "broken.png").write_bytes(b"none")
    return folder


def run(photos, out, resume=False, **options):
    page = io.StringIO()
    console = Console(file=page, width=200)
    result = pretrain(photos, MODEL, out=out, options={**OPTIONS, **options}, resume=resume, console=console)
    return result, page.getvalue()


@pytest.fixture(scope="module")
def views(photos, tmp_path_factory):
    return run(photos, tmp_path_factory.mktemp("views") / "run")


def test_views_teach_a_backbone_that_a_detector_takes(views, tmp_path):
    result, page = views
    assert "two views of each picture are to be alike" in page
    assert {"train/invariance", "train/variance", "train/covariance"} <= set(result.rows[0])
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert (metrics["labels"], metrics["pictures"]["train"], len(metrics["pictures_skipped"])) == (False, 9, 1)
    model, metadata = load_classifier(result.best)
    assert metadata.class_names == ["unlabelled"]
    detector = build_model("yolov8n-ghostnetv1", num_classes=2, width=0.25)
    fresh = detector.backbone.stem.conv.weight.clone()
    assert load_backbone(detector, result.best) > 100
    torch.testing.assert_close(detector.backbone.stem.conv.weight, model.backbone.stem.conv.weight)
    assert not torch.equal(detector.backbone.stem.conv.weight, fresh)


def test_a_resumed_run_equals_an_uninterrupted_one(views, photos, tmp_path, monkeypatch):
    whole, _ = views
    begin = UnlabelledModule.on_train_epoch_start

    def stop_at_the_second(self):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        begin(self)

    with monkeypatch.context() as patch:
        patch.setattr(UnlabelledModule, "on_train_epoch_start", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run(photos, tmp_path / "run")
    resumed, _ = run(photos, tmp_path / "run", resume=True)
    expected = read_checkpoint(whole.last)[0]
    for name, tensor in read_checkpoint(resumed.last)[0].items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("name", ["test_vit", "resnet10t"])
def test_the_features_of_a_teacher_are_learned(photos, tmp_path, name):
    torch.manual_seed(0)
    torch.save(timm.create_model(name).state_dict(), tmp_path / "teacher.pth")
    options = {"teacher": name, "teacher_weights": str(tmp_path / "teacher.pth"), "teacher_imgsz": 160, "epochs": 6}
    result, page = run(photos, tmp_path / "run", **options)
    assert "features of the teacher" in page
    losses = [row["train/features"] for row in result.rows]
    assert losses[-1] < losses[0]


def test_a_network_of_ours_is_a_teacher_too(views, photos, tmp_path):
    result, _ = run(photos, tmp_path / "run", teacher=str(views[0].best), epochs=1)
    assert "train/features" in result.rows[0]


def test_a_teacher_gives_the_map_of_its_own_features(tmp_path):
    net = timm.create_model("test_vit", num_classes=0).eval()
    torch.save(net.state_dict(), tmp_path / "teacher.pth")
    settings = {"labels": False, "imgsz": 160, "teacher": "test_vit", "teacher_weights": str(tmp_path / "teacher.pth")}
    teacher = build_feature_teacher(ClassRecipe.from_dict(settings, "tests"), 3)
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    tokens = net.forward_features((images - teacher.mean) / teacher.std)[:, net.num_prefix_tokens :]
    side = 160 // net.patch_embed.patch_size[0]
    expected = tokens.transpose(1, 2).reshape(2, -1, side, side)
    torch.testing.assert_close(teacher.look(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("timm:resnet10t", {}, "no maps are known"),
        (MODEL, {"augment": {"mixup": 0.2}}, "mix labels, and there are none"),
        (MODEL, {"teacher": "resnet188"}, "no model 'resnet188'"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(photos, tmp_path, model, options, message):
    with pytest.raises(ConfigError, match=message):
        pretrain(photos, model, out=tmp_path / "run", options={**OPTIONS, **options}, console=Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_folder_without_labels_says_how_to_learn_from_it(photos, tmp_path):
    with pytest.raises(DataError, match="labels=false"):
        pretrain(photos / "more", MODEL, out=tmp_path / "run", options={**OPTIONS, "labels": True})
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no picture"):
        pretrain(tmp_path / "empty", MODEL, out=tmp_path / "run", options=OPTIONS)
