"""Gates: PSA equals its definition by pixel shuffle; both take any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ghostyolo.nn.attention import DfcGate, PsaGate


def psa_by_definition(gate: PsaGate, ghost: torch.Tensor) -> torch.Tensor:
    """Space to depth, channel attention, depth to space."""
    deep = F.pixel_unshuffle(ghost, 2)
    weight = torch.sigmoid(gate.expand(torch.relu(gate.reduce(deep.mean((2, 3), keepdim=True)))))
    return F.pixel_shuffle(deep * weight, 2)


@pytest.mark.parametrize("size", [(2, 2), (8, 6), (4, 10)])
def test_psa_equals_its_definition(size):
    torch.manual_seed(0)
    gate = PsaGate(3, 12).double()
    ghost = torch.randn(2, 12, *size, dtype=torch.float64)
    torch.testing.assert_close(gate(ghost[:, :3], ghost), psa_by_definition(gate, ghost))


def test_psa_weighs_each_phase_by_itself():
    """A map that is bright in one phase only: the means that the weights come from differ by phase."""
    gate = PsaGate(1, 4)
    ghost = torch.zeros(1, 4, 4, 4)
    ghost[:, :, 1::2, 0::2] = 1
    with torch.no_grad():
        weights = gate(ghost, ghost + 1) / (ghost + 1)
    for row in range(2):
        for column in range(2):
            phase = weights[:, :, row::2, column::2]
            assert (phase == phase[:, :, :1, :1]).all()
    assert len(weights[0, 0].unique()) > 1


@pytest.mark.parametrize("gate_class", [DfcGate, PsaGate])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (7, 7), (7, 10), (3, 2)])
def test_gates_take_any_size(gate_class, size):
    torch.manual_seed(0)
    gate = gate_class(6, 8).eval()
    ghost = torch.rand(2, 8, *size)
    gated = gate(torch.rand(2, 6, *size), ghost)
    assert gated.shape == ghost.shape
    assert ((gated >= 0) & (gated <= ghost)).all()


def test_odd_psa_phases_average_what_they_have():
    """Constant maps have the same mean in every phase, however many pixels a phase has."""
    gate = PsaGate(1, 4).double()
    odd = gate(torch.ones(1, 1, 5, 7).double(), torch.full((1, 4, 5, 7), 2.0).double())
    even = gate(torch.ones(1, 1, 4, 6).double(), torch.full((1, 4, 4, 6), 2.0).double())
    torch.testing.assert_close(odd[:, :, :4, :6], even)
