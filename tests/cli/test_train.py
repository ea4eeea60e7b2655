"""``ghostyolo train``, as a user types it, and its Python face."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ghostyolo.cli import main as command
from ghostyolo.data.records import DetectionData
from ghostyolo.detector import Detector
from ghostyolo.errors import ConfigError, WeightsError
from ghostyolo.models.names import zoo_config
from ghostyolo.models.weights import load_checkpoint, read_checkpoint, save_checkpoint
from ghostyolo.train.detection.start import prepare, train_detector
from ghostyolo.train.recipe import TrainRecipe
from tests.train import tiny

MODEL = "yolov13n-ghostnetv3"
OPTIONS = ["--imgsz", 64, "--batch", 2, "--set", "branches=1", "--threads", 1, "--device", "cpu"]


@pytest.fixture
def data(tmp_path) -> Path:
    return tiny.write_yolo(tiny.squares(tmp_path / "data", train=2, val=2))


@pytest.fixture
def tiny_model(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny.CONFIG.model_dump(mode="json", exclude={"name"})))
    return path


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run the command in this process, expecting exit status 2; return its one line."""

    def run(*args: object) -> str:
        monkeypatch.setattr(sys, "argv", ["ghostyolo", "train", *map(str, args)])
        monkeypatch.setattr(command, "app", command.typer.Typer())
        command.app.callback()(command._options)
        with pytest.raises(SystemExit) as stopped:
            command.main()
        assert stopped.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def test_trains_resumes_and_says_where_the_weights_are(run_cli, data, tmp_path) -> None:
    out = tmp_path / "run"
    done = run_cli("train", "--data", data, "--model", MODEL, "--epochs", 1, *OPTIONS, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("train: 2 pictures")  # what it reads comes first
    assert any(line.startswith("epoch 1/1") for line in lines)
    assert f"weights: {out / 'best.safetensors'}" in lines
    assert f"the worst pictures: {out / 'worst.html'}" in lines
    assert f"  ghostyolo val --weights {out / 'best.safetensors'} --data {data}" in lines
    assert f"  ghostyolo predict --weights {out / 'best.safetensors'} --conf auto PICTURES" in lines
    _, metadata = load_checkpoint(out / "best.safetensors")
    assert (metadata.model, metadata.class_names, metadata.imgsz) == (MODEL, ["red", "green"], 64)
    assert (out / "predictions.png").is_file()


def test_recipe_file_and_flags_are_one_recipe_and_flags_win(monkeypatch, data, tmp_path, tiny_model) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("epochs: 3\nlr: 1e-3\nplots: false\ntensorboard: false\naugment: {mosaic: 0}\n")
    out = tmp_path / "run"
    args = ["--data", data, "--model", tiny_model, "--recipe", recipe, "--epochs", 1, "--imgsz", 64, "--out", out]
    monkeypatch.setattr(sys, "argv", ["ghostyolo", "train", *map(str, args)])
    monkeypatch.setattr(command, "app", command.typer.Typer())
    command.app.callback()(command._options)
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert not stopped.value.code
    written = yaml.safe_load((out / "config.yaml").read_text())["recipe"]
    assert (written["epochs"], written["lr"], written["augment"]["mosaic"]) == (1, 0.001, 0)


def test_learns_from_the_teacher_that_flags_name(monkeypatch, capsys, data, tmp_path, tiny_model) -> None:
    model, metadata = tiny.model_and_metadata(seed=1)
    teacher = tmp_path / "big.safetensors"
    save_checkpoint(model, metadata, teacher)
    out = tmp_path / "run"
    flags = [
        "--epochs",
        1,
        *OPTIONS[:4],
        "--teacher",
        teacher,
        "--set",
        "plots=false",
        "--set",
        "distil=logits=2,features",
    ]
    args = ["--data", data, "--model", tiny_model, *flags, "--out", out]
    monkeypatch.setattr(sys, "argv", ["ghostyolo", "train", *map(str, args)])
    monkeypatch.setattr(command, "app", command.typer.Typer())
    command.app.callback()(command._options)
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert not stopped.value.code
    said = capsys.readouterr().out.splitlines()
    assert f"teacher {teacher} teaches logits x 2, features x 5; tau 2, strides 8, 16, 32" in said
    assert "kd_logits" in next(line for line in said if line.startswith("epoch 1/1"))
    written = yaml.safe_load((out / "config.yaml").read_text())
    assert written["recipe"]["distil"] == {"logits": 2.0, "boxes": None, "features": 5.0, "tau": 2.0}
    assert written["run"]["teacher"].startswith("big.safetensors ")
    # In Python too, and a resume needs to be told nothing.
    again = Detector(tiny_model).train(out=out, resume=True)
    assert again.rows[0]["train/kd_features"] > 0
    options = {"epochs": 1, "imgsz": 64, "batch": 2, "device": "cpu", "plots": False, "tensorboard": False}
    taught = Detector(tiny_model).train(data, out=tmp_path / "python", teacher=teacher, distil={"boxes": 1}, **options)
    assert "train/kd_boxes" in taught.rows[0]


def test_a_wrong_teacher_is_one_line_and_no_folder(refused, data, tmp_path, tiny_model) -> None:
    run = ["--data", data, "--model", tiny_model, *OPTIONS[:4], "--out", tmp_path / "run"]
    assert "give --teacher FILE" in refused(*run, "--set", "distil=logits")
    assert "did you mean logits" in refused(*run, "--teacher", "big.safetensors", "--set", "distil=logit")
    assert "greater than or equal to 0" in refused(*run, "--teacher", "big.safetensors", "--set", "distil=boxes=-1")
    assert "big.safetensors" in refused(*run, "--teacher", "big.safetensors")
    assert not (tmp_path / "run").exists()


def test_unknown_model_offers_the_nearest(refused, data, tmp_path) -> None:
    line = refused("--data", data, "--model", "yolo13n-ghostnetv3", "--out", tmp_path / "run")
    assert line.startswith("error: unknown model 'yolo13n-ghostnetv3': did you mean yolov13n-ghostnetv3")
    line = refused("--data", data, "--model", "yolov13n-ghostnet3", "--out", tmp_path / "run")
    assert line.startswith("error: unknown backbone 'ghostnet3': did you mean ghostnetv3")


def test_data_alone_is_enough(run_cli, data, tmp_path) -> None:
    out = tmp_path / "run"
    done = run_cli("train", "--data", data, "--epochs", 1, "--no-plots", "--device", "cpu", "--out", out)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.split()[:2] == ["model", "ghostyolo-n"] for line in lines)
    assert yaml.safe_load((out / "plan.yaml").read_text())["plan"]["model"]["value"] == "ghostyolo-n"
    assert load_checkpoint(out / "best.safetensors")[1].model == "ghostyolo-n"


def test_two_lengths_of_a_run_are_refused(refused, data, tmp_path) -> None:
    line = refused("--data", data, "--minutes", 5, "--epochs", 3, "--out", tmp_path / "run")
    assert "minutes and epochs are both given" in line


def test_missing_data_is_one_line(refused, tmp_path) -> None:
    assert "nowhere" in refused("--data", tmp_path / "nowhere", "--model", MODEL, "--out", tmp_path / "run")


def test_pickled_weights_are_refused(refused, data, tmp_path) -> None:
    (tmp_path / "w.pt").write_bytes(b"\x80\x04.")
    assert "pickle" in refused("--data", data, "--weights", tmp_path / "w.pt", "--out", tmp_path / "run")


def test_unknown_recipe_key_offers_the_nearest(refused, data, tmp_path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("epoch: 3\n")
    line = refused("--data", data, "--model", MODEL, "--recipe", recipe, "--out", tmp_path / "run")
    assert "unknown key 'epoch': did you mean epochs" in line


def test_folder_that_cannot_be_made_is_one_line(refused, data, tmp_path, tiny_model) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused("--data", data, "--model", tiny_model, "--imgsz", 64, "--out", tmp_path / "file" / "run")
    assert "choose another --out" in line


def test_detector_trains_scores_predicts_and_saves(data, tmp_path, tiny_model) -> None:
    detector = Detector(tiny_model)
    with pytest.raises(ConfigError, match="no weights yet"):
        detector.predict(np.zeros((64, 64, 3), np.uint8))
    options = {"epochs": 1, "imgsz": 64, "batch": 2, "device": "cpu", "plots": False, "tensorboard": False}
    result = detector.train(data, out=tmp_path / "run", **options)
    assert pytest.approx(result.metrics.AP, abs=1e-6) == detector.val(data).AP
    (prediction,) = detector.predict(np.zeros((48, 64, 3), np.uint8), confidence=0.0)
    assert prediction.detections.xyxy.shape[1] == 4
    saved = detector.save(tmp_path / "mine.safetensors")
    assert saved.read_bytes() == result.best.read_bytes()
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        detector.save(tmp_path / "mine.pt")
    with pytest.raises(ConfigError, match="unknown export format 'onnxx': did you mean onnx"):
        detector.export("onnxx")


def test_detector_resumes_with_its_own_recipe(data, tmp_path, tiny_model) -> None:
    options = {"epochs": 1, "imgsz": 64, "batch": 2, "device": "cpu", "plots": False, "tensorboard": False}
    first = Detector(tiny_model).train(data, out=tmp_path / "run", seed=4, **options)
    again = Detector(tiny_model).train(out=tmp_path / "run", resume=True)
    assert again.rows == first.rows
    with pytest.raises(ConfigError, match="another 'seed'"):
        Detector(tiny_model).train(data, out=tmp_path / "run", resume=True, seed=5)


def test_resume_needs_no_flag_but_the_folder(data, tmp_path, tiny_model) -> None:
    options = {"epochs": 1, "imgsz": 64, "batch": 2, "device": "cpu", "plots": False, "tensorboard": False}
    first = train_detector(data, tiny_model, out=tmp_path / "run", options={**options, "channels": 1})
    tiny_model.unlink()
    again = train_detector(None, out=tmp_path / "run", resume=True)
    assert again.rows == first.rows
    tuned = train_detector(data, out=tmp_path / "tuned", options={**options, "channels": 1, "weights": first.best})
    assert train_detector(None, out=tmp_path / "tuned", resume=True).rows == tuned.rows
    with pytest.raises(ConfigError, match="another 'weights'"):
        train_detector(None, out=tmp_path / "tuned", options={"weights": first.last}, resume=True)


def test_detector_of_unknown_name_offers_networks_and_weights() -> None:
    with pytest.raises(ConfigError, match=r"neither a network nor built-in weights.*yolov13n"):
        Detector("yolov13nn")
    with pytest.raises(WeightsError):
        Detector("missing.safetensors")


def test_fine_tuning_keeps_all_but_the_class_layers(data, tmp_path, tiny_model) -> None:
    detector = Detector(tiny_model)
    options = {"epochs": 1, "imgsz": 64, "batch": 2, "device": "cpu", "plots": False, "tensorboard": False}
    result = detector.train(data, out=tmp_path / "run", **options)
    tensors, _ = read_checkpoint(result.best)
    five = DetectionData(data, "yolo", [*"abcde"], {})
    network = prepare(None, TrainRecipe.from_dict({"weights": result.best}), five).network
    state = network.state_dict()
    assert network.config == tiny.CONFIG.model_copy(update={"name": "tiny"})
    assert (state["backbone.fine.0.weight"] == tensors["backbone.fine.0.weight"]).all()
    assert state["head.cls.0.4.weight"].shape[0] == 5


def test_branches_given_reach_the_backbone(tmp_path) -> None:
    two = DetectionData(tmp_path, "yolo", ["a", "b"], {})
    many = prepare(MODEL, TrainRecipe.from_dict({"branches": 2}), two).network
    assert many.config.backbone.params["branches"] == 2
    assert zoo_config(MODEL).backbone.params["branches"] == 3
