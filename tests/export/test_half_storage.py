"""float16 storage: the same graph, half the bytes, float32 arithmetic on the rounded weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ghostyolo.errors import GhostYoloError
from ghostyolo.export.half_precision import store_half


def product_model(weight: np.ndarray) -> onnx.ModelProto:
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_weights_are_rounded_once_and_nothing_else():
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((64, 64), dtype=np.float32)
    x = generator.standard_normal((3, 64), dtype=np.float32)
    model = store_half(product_model(weight))
    onnx.checker.check_model(model)
    assert len(model.SerializeToString()) < 0.6 * weight.nbytes
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, x @ weight.astype(np.float16).astype(np.float32), rtol=1e-4, atol=1e-4)


def test_small_tensors_stay_and_huge_values_are_refused():
    small = product_model(np.ones((4, 4), dtype=np.float32))
    assert store_half(small).graph.initializer[0].data_type == TensorProto.FLOAT
    with pytest.raises(GhostYoloError, match="exceeds float16"):
        store_half(product_model(np.full((32, 32), 1e6, dtype=np.float32)))
