"""Whole runs with a teacher: what they write, what they leave alone, resume, and every teacher that is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ghostyolo.errors import ConfigError, GhostYoloError
from ghostyolo.losses.dfl import DflCriterion
from ghostyolo.metadata import ModelMetadata
from ghostyolo.models.weights import load_checkpoint, read_checkpoint
from ghostyolo.runtime.weights import assets_folder
from ghostyolo.train.detection import module as train_module
from ghostyolo.train.detection.fit import fit
from ghostyolo.train.detection.start import train_detector
from tests.runtime.colour_model import MODEL_PATH
from tests.train import tiny
from tests.train.detection.test_fit import StopAt, assert_same_run
from tests.train.distil import networks


@pytest.fixture
def data(tmp_path):
    return tiny.squares(tmp_path / "data")


@pytest.fixture
def big(tmp_path) -> Path:
    return networks.save(networks.network(backbone="test-wide", seed=1), tmp_path / "big.safetensors")


def train(data, out: Path, *, resume=False, criterion=None, console=None, channels=3, **changes):
    model, metadata = tiny.model_and_metadata(channels)
    console = console or Console(quiet=True)
    return fit(model, metadata, data, tiny.recipe(**changes), out, resume=resume, criterion=criterion, console=console)


def test_a_taught_run_shows_its_losses_and_cost_and_writes_a_plain_checkpoint(tmp_path, data, big) -> None:
    said = io.StringIO()
    result = train(data, tmp_path / "run", teacher=str(big), epochs=2, console=Console(file=said, width=300))
    assert {"train/kd_logits", "train/kd_boxes", "train/kd_features"} <= set(result.rows[0])
    row = result.rows[0]
    parts = [value for name, value in row.items() if name.startswith("train/") and name != "train/loss"]
    assert row["train/loss"] == pytest.approx(sum(parts))
    assert "train/kd_boxes" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]
    lines = said.getvalue().replace(str(big), "BIG").splitlines()
    assert lines[0].startswith("teacher BIG teaches logits x 1, boxes x 1, features x 5 (1x1 adapters)")
    (cost,) = (line for line in lines if " of a step " in line)
    parameters = sum(p.numel() for p in networks.network(backbone="test-wide").parameters())
    assert cost.startswith(f"teacher BIG: {parameters / 1e6:.2f} M parameters, ")
    assert "M MACs a picture of 64 x 64, " in cost
    assert "kd_features" in next(line for line in lines if line.startswith("epoch 1/2"))
    for name in ("best", "last"):
        tensors, _ = read_checkpoint(getattr(result, name))
        assert set(tensors) == {
            key for key in tiny.model_and_metadata()[0].state_dict() if not key.endswith("num_batches_tracked")
        }


def test_adapters_learn_and_resume_but_are_not_averaged_and_the_teacher_stays(tmp_path, data, big, monkeypatch) -> None:
    seen = []
    original = train_module.DetectionModule.on_fit_start

    def watch(self):
        original(self)
        state = {key: value.clone() for key, value in self.distiller.teacher.net.state_dict().items()}
        seen.append((self, state, {key: value.clone() for key, value in self.adapters.state_dict().items()}))

    monkeypatch.setattr(train_module.DetectionModule, "on_fit_start", watch)
    before = big.read_bytes()
    train(data, tmp_path / "run", teacher=str(big), epochs=1)
    ((module, teacher, adapters),) = seen
    for key, tensor in module.distiller.teacher.net.state_dict().items():
        assert torch.equal(tensor, teacher[key]), key
    assert not module.distiller.teacher.net.training
    assert big.read_bytes() == before
    assert set(adapters) == {"8.weight", "32.weight"}
    for key, tensor in module.adapters.state_dict().items():
        assert not torch.equal(tensor, adapters[key]), key
    assert set(module.ema.model.state_dict()) == set(tiny.model_and_metadata()[0].state_dict())
    state = torch.load(tmp_path / "run" / "resume.ckpt", weights_only=True)["state_dict"]
    assert {key for key in state if not key.startswith("model.")} == {"adapters.8.weight", "adapters.32.weight"}


def test_all_weights_zero_is_training_without_a_teacher_bit_for_bit(tmp_path, data, big) -> None:
    plain = train(data, tmp_path / "plain", epochs=2)
    said = io.StringIO()
    zero = train(
        data,
        tmp_path / "zero",
        teacher=str(big),
        distil="logits=0,boxes=0,features=0",
        epochs=2,
        console=Console(file=said, width=300),
    )
    assert "is not run: all weights of distil are 0" in said.getvalue()
    assert_equal_weights(plain.last, zero.last)
    assert [row["train/loss"] for row in plain.rows] == [row["train/loss"] for row in zero.rows]


def test_a_teacher_changes_neither_first_weights_nor_augmentation_nor_dropout(tmp_path, data, big) -> None:
    # One batch: its detection losses come before anything was learned.
    plain, taught = (
        train(data, tmp_path / name, epochs=1, batch=6, **options).rows[0]
        for name, options in (("plain", {}), ("taught", {"teacher": str(big)}))
    )
    assert [plain[f"train/{part}"] for part in DflCriterion.parts] == [
        taught[f"train/{part}"] for part in DflCriterion.parts
    ]


def test_a_teacher_changes_what_is_learned(tmp_path, data, big) -> None:
    plain, taught = (
        train(data, tmp_path / name, epochs=1, **options)
        for name, options in (("plain", {}), ("taught", {"teacher": str(big), "distil": "logits"}))
    )
    with pytest.raises(AssertionError):
        assert_equal_weights(plain.last, taught.last)


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = read_checkpoint(one)[0], read_checkpoint(other)[0]
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


def test_a_resumed_taught_run_equals_an_uninterrupted_one(tmp_path, data, big) -> None:
    straight = train(data, tmp_path / "straight", teacher=str(big))
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", teacher=str(big), criterion=StopAt(8, KeyboardInterrupt))
    assert_same_run(straight, train(data, tmp_path / "cut", teacher=str(big), resume=True))


def test_resume_with_another_teacher_or_other_weights_is_refused(tmp_path, data, big) -> None:
    train(data, tmp_path / "run", teacher=str(big), epochs=1)
    files = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    other = networks.save(networks.network(seed=5), tmp_path / "other.safetensors")
    for options, key in (
        ({"teacher": str(other)}, "teacher"),
        ({}, "teacher"),
        ({"teacher": str(big), "distil": {"logits": 2}}, "distil.logits"),
        ({"teacher": str(big), "distil": {"tau": 3}}, "distil.tau"),
    ):
        with pytest.raises(ConfigError, match=f"another '{key}'"):
            train(data, tmp_path / "run", epochs=1, resume=True, **options)
    networks.save(networks.network(backbone="test-wide", seed=9), big)  # the same name, other weights
    with pytest.raises(ConfigError, match="another 'teacher'"):
        train(data, tmp_path / "run", epochs=1, resume=True, teacher=str(big))
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == files


def teachers(tmp_path: Path) -> dict[str, tuple[str, dict, str]]:
    """Source, options of the run, and what is said about it."""
    from ghostyolo.models.image_classifier import ClassifierConfig, build_classifier
    from ghostyolo.models.weights import save_checkpoint

    def made(name: str, **options) -> str:
        names = options.pop("names", None)
        return str(networks.save(networks.network(**options), tmp_path / f"{name}.safetensors", names))

    config = ClassifierConfig.from_dict({"backbone": {"type": "test-convs"}, "name": "c"}, "test")
    classifier = tmp_path / "classifier.safetensors"
    save_checkpoint(
        build_classifier(config, 2, 3), ModelMetadata(model="c", class_names=tiny.CLASS_NAMES, imgsz=32), classifier
    )
    (tmp_path / "broken.safetensors").write_bytes(b"123")
    (tmp_path / "w.pt").write_bytes(b"\x80\x04.")
    return {
        "other names": (made("a", names=["red", "blue"]), {}, r"has classes \[red, blue\], the data \[red, green\]: g"),
        "another order": (made("b", names=["green", "red"]), {}, r"the same in another order"),
        "more classes": (made("c", classes=3, names=["red", "green", "blue"]), {}, r"has classes \[red, green, blue\]"),
        "grey": (made("d", channels=1), {}, "takes pictures of 1 channels, the student 3"),
        "larger stride": (
            made("e", backbone="test-coarse"), {"imgsz": 96}, "imgsz 96 is not a multiple of 64, as the teacher"
        ),
        "classifier": (str(classifier), {}, "is a classifier: give a detector's .safetensors"),
        "exported": (str(MODEL_PATH), {}, r"is an exported model.*give the \.safetensors.*pseudo-label"),
        "missing": (str(tmp_path / "none.safetensors"), {}, "does not exist"),
        "a word": ("bcd", {}, "no weights named 'bcd'"),
        "damaged": (str(tmp_path / "broken.safetensors"), {}, "damaged"),
        "pickle": (str(tmp_path / "w.pt"), {}, "pickle"),
    }  # fmt: skip


def test_a_teacher_that_cannot_teach_is_one_line_and_nothing_is_written(tmp_path, data) -> None:
    for name, (source, options, message) in teachers(tmp_path).items():
        with pytest.raises(GhostYoloError, match=message) as caught:
            train(data, tmp_path / "run", teacher=source, **options)
        assert "\n" not in str(caught.value), name
        assert not (tmp_path / "run").exists(), name


def test_a_built_in_teacher_is_found_by_name(tmp_path, data) -> None:
    if not (assets_folder() / "bccd.safetensors").is_file():
        pytest.skip("no built-in weights in this package")
    with pytest.raises(ConfigError, match=r"teacher bccd has classes \[Platelets, RBC, WBC\]"):
        train(data, tmp_path / "run", teacher="bccd")


def test_a_student_that_learns_to_round_may_have_a_teacher(tmp_path, data, big) -> None:
    root = tiny.write_yolo(data)
    weights = networks.save(networks.network("end2end").eval(), tmp_path / "small.safetensors")
    teacher = networks.save(networks.network("end2end", "test-wide").eval(), tmp_path / "two.safetensors")
    options = {"qat": True, "epochs": 1, "imgsz": 64, "batch": 2, "device": "cpu", "plots": False, "tensorboard": False}
    result = train_detector(
        root,
        out=tmp_path / "run",
        options={**options, "weights": weights, "teacher": teacher},
        console=Console(quiet=True),
    )
    assert result.rows[0]["train/kd_boxes"] > 0
    assert load_checkpoint(result.best)[1].deployed


@pytest.mark.parametrize("head", ["yolox", "anchor", "end2end"])
def test_every_head_learns_from_a_teacher(tmp_path, data, head) -> None:
    model = networks.network(head)
    metadata = ModelMetadata(model="tiny", class_names=tiny.CLASS_NAMES, imgsz=64)
    teacher = networks.save(
        networks.network("anchor" if head == "anchor" else "dfl", "test-wide"), tmp_path / "t.safetensors"
    )
    recipe = tiny.recipe(teacher=str(teacher), epochs=1, channels_last=True)
    result = fit(model, metadata, data, recipe, tmp_path / "run", console=Console(quiet=True))
    assert all(result.rows[0][f"train/kd_{part}"] > 0 for part in ("logits", "boxes", "features"))
