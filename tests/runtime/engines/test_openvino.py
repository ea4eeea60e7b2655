"""OpenVINO runs without AMX, where it would crash, unless the user has set a limit."""

from __future__ import annotations

import os

import pytest

from ghostyolo.runtime.engines import openvino as engine

pytest.importorskip("openvino")


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """What the environment says after loading on a CPU with some flags."""

    def load(flags: str | None, **environment: str) -> dict[str, str]:
        monkeypatch.setattr(os, "environ", dict(environment))
        info = tmp_path / "cpuinfo"
        if flags is not None:
            info.write_text(f"processor : 0\nflags : {flags}\n")
        monkeypatch.setattr(engine, "_CPU_INFO", info)
        assert engine.load_openvino().__name__ == "openvino"
        return dict(os.environ)

    return load


def test_amx_is_left_out_where_the_cpu_has_it(loaded):
    assert loaded("fpu avx512f amx_bf16 amx_int8") == {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"}


def test_a_limit_of_the_users_stays(loaded):
    flags = "amx_int8"
    assert loaded(flags, ONEDNN_MAX_CPU_ISA="AVX2") == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert loaded(flags, DNNL_MAX_CPU_ISA="AVX2") == {"DNNL_MAX_CPU_ISA": "AVX2"}


@pytest.mark.parametrize("flags", ["fpu avx512f avx512_vnni", None])
def test_other_cpus_and_systems_are_left_as_they_are(loaded, flags):
    assert loaded(flags) == {}
