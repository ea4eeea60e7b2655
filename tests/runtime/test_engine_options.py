"""An engine's own settings reach it through ``load`` and the command, and unknown ones name the nearest."""

from __future__ import annotations

import pytest

from ghostyolo.config import parse_assignments
from ghostyolo.errors import ConfigError
from ghostyolo.runtime.engines import EngineSetup, open_engine
from ghostyolo.runtime.predictor import load
from tests.runtime.colour_model import MODEL_PATH


@pytest.mark.parametrize(
    "options",
    [
        {"intra_op_num_threads": 2},
        {"graph_optimization_level": "ORT_DISABLE_ALL"},
        {"session.intra_op.allow_spinning": False},
        {"provider": "CPUExecutionProvider"},
    ],
)
def test_onnx_runtime_takes_session_options_configuration_keys_and_a_provider(options):
    assert load(MODEL_PATH, engine_options=options).engine.name == "onnxruntime"


def test_a_session_option_reaches_the_session(monkeypatch):
    import onnxruntime

    given = []
    session = onnxruntime.InferenceSession

    def spy(path, sess_options, providers, **others):
        given.append((sess_options.intra_op_num_threads, sess_options.graph_optimization_level.name, providers))
        return session(path, sess_options=sess_options, providers=providers, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    options = {"graph_optimization_level": "ORT_DISABLE_ALL", "provider": "CPUExecutionProvider", "provider.a": 1}
    open_engine(MODEL_PATH, threads=3, engine_options=options)
    assert given == [(3, "ORT_DISABLE_ALL", [("CPUExecutionProvider", {"a": "1"})])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grph_optimization_level": 1}, "did you mean graph_optimization_level"),
        ({"graph_optimization_level": "ORT_ENABLE_AL"}, "did you mean ORT_ENABLE_ALL"),
        ({"intra_op_num_threads": "many"}, "it takes int"),
        ({"session.allow_spinning": 1}, "did you mean session.intra_op.allow_spinning"),
        ({"provider": "CPUExecutionProvidr"}, "did you mean .*CPUExecutionProvider"),
        ({"provider.device_id": 1}, "add --engine-option provider=NAME"),
    ],
)
def test_what_onnx_runtime_does_not_know_is_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        open_engine(MODEL_PATH, engine_options=options)


def test_an_engine_without_options_says_so():
    with pytest.raises(ConfigError, match="TensorRT takes no engine options: leave out 'workspace'"):
        EngineSetup(options={"workspace": 1}).check_options("TensorRT", ())


def test_a_word_that_an_option_does_not_take_names_those_it_does():
    setup = EngineSetup(options={"precision": "hi"})
    with pytest.raises(ConfigError, match="engine option precision is 'hi': valid are low, high"):
        setup.choice("precision", {"low": 0, "high": 1}, "high")
    assert EngineSetup().choice("precision", {"low": 0, "high": 1}, "high") == 1


def test_the_command_reads_numbers_and_refuses_a_key_given_twice():
    assert parse_assignments(["a=1", "b.c=x", "d=false"], "--engine-option") == {"a": 1, "b.c": "x", "d": False}
    with pytest.raises(ConfigError, match="'a' is given twice"):
        parse_assignments(["a=1", "a=2"], "--engine-option")
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        parse_assignments(["a"], "--engine-option")
