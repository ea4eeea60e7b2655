"""``ghostyolo import`` end to end: a published file becomes a checkpoint that runs; wrong input is one line."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from ghostyolo.models import build_model  # noqa: E402
from ghostyolo.models.weights import load_checkpoint  # noqa: E402
from tests.integrations.published.builders import their_tensors  # noqa: E402
from tests.models.pickles.hostile import archive, text_call  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A YOLOX-Nano for three classes, as its training writes it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "best_ckpt.pth"
    torch.save({"model": their_tensors(build_model("yolox-nano", num_classes=3)), "start_epoch": 3}, path)
    return path


def test_import_writes_a_checkpoint_and_says_its_licence(type_cli, checkpoint, tmp_path):
    done = type_cli("import", checkpoint, "--as", "yolox-nano", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "yolox-nano.safetensors: yolox-nano, 3 classes" in done.stdout
    assert "licence of the weights: Apache-2.0 (YOLOX by Megvii, https://" in done.stdout
    model, metadata = load_checkpoint(tmp_path / "yolox-nano.safetensors")
    assert metadata.class_names == ["class 0", "class 1", "class 2"]
    assert model.num_classes == 3
    again = type_cli("import", checkpoint, "--as", "yolox-nano", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert type_cli("import", checkpoint, "--as", "yolox-nano", "--overwrite", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.pt", "--as", "yolov8n"), "none.pt does not exist"),
        (("{checkpoint}", "--as", "yolov8x99"), "did you mean"),
        (("{checkpoint}", "--as", "ghostyolo-n"), "nobody published"),
        (("{checkpoint}", "--as", "yolov8n"), "has no layer 'model.22.cv3.0.2.bias'"),
        (("{checkpoint}", "--as", "yolox-s"), "layer 'backbone.backbone.stem.conv.conv.weight' is (16, 3, 6, 6)"),
        (("evil.pt", "--as", "yolov8n"), "would call os.system"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(type_cli, checkpoint, tmp_path, arguments, message):
    archive(tmp_path / "evil.pt", text_call("os", "system", "ls"))
    words = [word.format(checkpoint=checkpoint) for word in arguments]
    done = type_cli("import", *words, "--out", "out.safetensors", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.pt"]
