"""A detector as ``.mnn``: exported, loaded, run and compared; nothing installed or sent on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("MNN", reason="needs the mnn extra")
torch = pytest.importorskip("torch", reason="needs the train extra")

import ghostyolo  # noqa: E402
from ghostyolo.errors import ConfigError, ExportError, WeightsError  # noqa: E402
from ghostyolo.export.formats.mnn import convert_proto  # noqa: E402
from ghostyolo.runtime.engines import open_engine  # noqa: E402
from ghostyolo.runtime.weights import assets_folder  # noqa: E402
from tests.export import mobile  # noqa: E402


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory):
    path = tmp_path_factory.mktemp("mnn") / "m.mnn"
    return path, mobile.export(path, "mnn")


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    path = tmp_path_factory.mktemp("mnn") / "m.mnn"
    mobile.export(path, "mnn", dynamic=False, batch=2)
    return path


def test_a_file_without_a_fixed_size_answers_as_the_network_at_any(dynamic):
    engine = open_engine(dynamic[0])
    for shape in ((1, 3, 64, 64), (2, 3, 32, 96), (3, 3, 64, 64), (1, 3, 64, 64)):
        pixels, score = mobile.differences(engine, shape)
        assert pixels < 0.01
        assert score < 1e-4


def test_a_file_of_one_size_is_fed_in_batches_of_its_own(static):
    engine = open_engine(static)
    assert engine.metadata.export.batch == 2
    assert mobile.differences(engine, (3, 3, 64, 64))[0] < 0.01
    with pytest.raises(ConfigError, match="takes 64 x 64 pixels only, not 96 x 64"):
        mobile.differences(engine, (1, 3, 64, 96))


def test_the_file_says_what_it_is(dynamic):
    path, result = dynamic
    metadata = open_engine(path).metadata
    assert metadata.class_names == ["red", "green"]
    assert metadata.deployed
    assert metadata.export.format == "mnn"
    assert result.parity.engine == "mnn"
    assert result.parity.detections == result.parity.matched > 0


def test_half_storage_is_near_half_the_file_and_near_the_network(tmp_path, dynamic):
    mobile.export(tmp_path / "h.mnn", "mnn", precision="fp16")
    pixels, score = mobile.differences(open_engine(tmp_path / "h.mnn"))
    assert 0 < pixels < 0.5
    assert 0 < score < 0.05
    assert (tmp_path / "h.mnn").stat().st_size < 0.75 * dynamic[0].stat().st_size  # the graph itself is half of it


def test_raw_maps_are_decoded_by_the_engine(tmp_path):
    mobile.export(tmp_path / "r.mnn", "mnn", output="raw", dynamic=False)
    engine = open_engine(tmp_path / "r.mnn")
    assert engine.export.outputs == ["level_8", "level_16", "level_32"]
    pixels, score = mobile.differences(engine)
    assert pixels < 0.01
    assert score < 1e-4


def test_one_and_many_threads_agree(dynamic):
    for threads in (1, 2):
        assert mobile.differences(open_engine(dynamic[0], threads=threads))[0] < 0.01


def test_a_picture_is_predicted(dynamic):
    picture = min((assets_folder() / "pictures").glob("*.jpg"))
    predictions = list(ghostyolo.load(dynamic[0]).predict(picture, confidence=0.01))
    assert len(predictions) == 1


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.98])
def test_a_truncated_file_is_one_line(tmp_path, dynamic, kept, capfd):
    whole = dynamic[0].read_bytes()
    broken = tmp_path / "broken.mnn"
    broken.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(WeightsError, match=r"broken\.mnn cannot be opened: truncated, damaged or not an MNN model"):
        open_engine(broken)
    assert capfd.readouterr() == ("", "")


def test_a_file_of_another_program_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    convert_proto(_graph(onnx, "Relu"), tmp_path / "foreign.mnn", "{}")
    with pytest.raises(WeightsError, match=r"foreign\.mnn"):
        open_engine(tmp_path / "foreign.mnn")


def test_an_operator_that_mnn_lacks_is_named_with_its_layer(tmp_path):
    onnx = pytest.importorskip("onnx")
    with pytest.raises(ExportError, match=r"it has no operator Frobnicate \(layer middle\)$"):
        convert_proto(_graph(onnx, "Frobnicate"), tmp_path / "x.mnn", "{}")
    assert not (tmp_path / "x.mnn").exists()


def test_another_device_is_refused(dynamic):
    with pytest.raises(ConfigError, match="MNN runs on the CPU here"):
        open_engine(dynamic[0], device="cuda")


def test_converting_and_running_start_no_pip_and_open_no_connection(tmp_path):
    """MNN's own commands do both, so the events that Python audits are written down in every process."""
    log = tmp_path / "log"
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(
            f"""
            import sys
            def hook(event, arguments):
                called = event in ("os.system", "socket.connect", "subprocess.Popen", "os.posix_spawn", "os.exec")
                if called or (event == "import" and str(arguments[0]).startswith(("MNN.tools", "aliyun", "pip"))):
                    with open({str(log)!r}, "a") as file:
                        file.write(event + " " + repr(arguments)[:300] + "\\n")
            sys.addaudithook(hook)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}

    def events(code: str) -> list[str]:
        log.unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path, timeout=120)
        return log.read_text().splitlines() if log.exists() else []

    assert events("import os; os.system('true')") == ["os.system (b'true',)"]
    work = """
from pathlib import Path
import onnx
from onnx import helper
from ghostyolo.export.formats.mnn import convert_proto
kind = onnx.TensorProto.FLOAT
ends = [helper.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("images", "boxes")]
graph = helper.make_graph([helper.make_node("Relu", ["images"], ["boxes"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
convert_proto(model, Path("m.mnn"), "{}")
import MNN
MNN.nn.load_module_from_file("m.mnn", [], [])
"""
    found = [event for event in events(work) if "ldconfig" not in event]  # torch looks for its libraries
    assert len(found) == 1, found
    (started,) = found
    assert started.startswith("subprocess.Popen")
    assert "_tools.mnnconvert" in started


def _graph(onnx, operator):
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, [1, 3, 8, 8]) for name in ("images", "boxes")]
    node = onnx.helper.make_node(operator, ["images"], ["boxes"], name="middle")
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_built_in_detector_keeps_its_detections(tmp_path, precision):
    result = mobile.export_builtin(tmp_path / "b.mnn", "mnn", precision=precision)
    assert result.parity.matched == result.parity.detections == result.parity.found
    assert result.megabytes < {"fp32": 10, "fp16": 5.5}[precision]
