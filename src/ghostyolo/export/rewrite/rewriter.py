"""All passes in order, over a captured network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from ghostyolo.export.rewrite.anchors_last import anchors_last
from ghostyolo.export.rewrite.concatenations import in_parts
from ghostyolo.export.rewrite.ghost_modules import with_twins
from ghostyolo.export.rewrite.graph import PassReport
from ghostyolo.export.rewrite.hypergraph import with_deployed_hypergraphs
from ghostyolo.export.rewrite.plain import plain, writes_in_place
from ghostyolo.export.rewrite.program import as_module, as_program, capture
from ghostyolo.export.rewrite.upsampling import upsample_late

Pass = Callable[[GraphModule, int], tuple[GraphModule, PassReport]]

PASSES: dict[str, Pass] = {
    "plain": lambda module, block: plain(module),
    "upsampling": lambda module, block: upsample_late(module),
    "twins": lambda module, block: with_twins(module, max(block, SMALL_BLOCK)),
    "parts": lambda module, block: in_parts(module, block),
    "anchors last": lambda module, block: anchors_last(module),
}
"""Passes over the graph by name, in order. Each gives an equal graph, and leaves alone what it does not fit.

None but the first is run on a graph that writes in place."""
SMALL_BLOCK = 8


@dataclass(frozen=True)
class Rewritten:
    """A rewritten network in both forms that exporters take.

    Attributes:
        module: runs, and can be traced.
        program: the same as a program of ``torch.export``.
        reports: what each pass did.
    """

    module: GraphModule
    program: ExportedProgram
    reports: tuple[PassReport, ...]


def rewrite(
    model: nn.Module,
    example: Tensor,
    dynamic_shapes: Any = None,
    block: int = 1,
    leave_out: Sequence[str] = (),
) -> Rewritten:
    """An equal network in the form that engines run fastest.

    Args:
        model: folded, in evaluation mode; it is not changed.
        example: what to capture it with.
        dynamic_shapes: of ``torch.export``.
        block: channels that the engine keeps together in memory; 1: it does not care.
        leave_out: names of passes, to measure what they bring.
    """
    reports = []
    if "hypergraph" not in leave_out:
        model, report = with_deployed_hypergraphs(model)
        reports.append(report)
    made = run_passes(capture(model, example, dynamic_shapes), block, leave_out)
    return Rewritten(made.module, made.program, (*reports, *made.reports))


def run_passes(captured: ExportedProgram, block: int = 1, leave_out: Sequence[str] = ()) -> Rewritten:
    """Run the passes over the graph; see :func:`rewrite`.

    The program that is given is not changed.
    """
    reports, module = [], as_module(captured)
    for name, run in PASSES.items():
        if name not in leave_out:
            module, report = run(module, block)
            reports.append(report)
        if writes_in_place(module):
            break
    return Rewritten(module.eval(), as_program(module, captured), tuple(reports))
