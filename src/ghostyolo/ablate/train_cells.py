"""Train what a grid still lacks and keep its table up to date."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ghostyolo.ablate.cells import Plan, Run, all_runs, cell_record, is_finished
from ghostyolo.ablate.job import LOG, Job, make_job, train
from ghostyolo.ablate.report import write_report
from ghostyolo.ablate.table import Epoch, Line, Result
from ghostyolo.errors import TrainingError
from ghostyolo.files import make_output_folder

Tell = Callable[[str], None]
Spread = Callable[[list[Job], Callable[[int, str | None], None]], None]
"""Trains jobs somewhere and says of each, by its position, when it is done and why it failed."""


@dataclass(frozen=True)
class Outcome:
    """Of a grid.

    Attributes:
        lines: of the table.
        failed: name of a run -> why.
    """

    lines: list[Line]
    failed: dict[str, str]


def one_after_another(jobs: list[Job], done: Callable[[int, str | None], None]) -> None:
    """Train jobs here, in turn.

    One that fails does not keep the others from it.
    """
    for position, job in enumerate(jobs):
        done(position, train(job))


def run_grid(plan: Plan, tell: Tell, *, epoch: Epoch = "last", spread: Spread = one_after_another) -> Outcome:
    """Train every run that is not finished, and write the report after each.

    Args:
        tell: shows a line.
        epoch: which weights are compared.
        spread: where runs are trained.

    Raises:
        TrainingError: not one run could be trained.
        OutputError: the folder cannot be written.
        KeyboardInterrupt, SystemExit: stopped; the same call goes on.
    """
    make_output_folder(plan.out)
    failed: dict[str, str] = {}
    waiting = [run for run in plan.runs if not is_finished(run, plan.kind)]
    finished = len(plan.runs) - len(waiting)
    if finished:
        tell(f"{finished} of {len(plan.runs)} runs are finished already")
    lines = _report(plan, epoch, failed)
    with _terminated_as_exit():
        needed = {run.teacher for run in waiting}
        teachers = [run for name, run in plan.teachers.items() if name in needed and not is_finished(run, plan.kind)]
        _train(plan, teachers, spread, failed, tell, lambda: None)
        ready = []
        for run in waiting:
            teacher = plan.teachers.get(run.teacher or "")
            if teacher is not None and not is_finished(teacher, plan.kind):
                failed[run.name] = f"{teacher.cell} could not be trained"
            else:
                ready.append(run)

        def report() -> None:
            nonlocal lines
            lines = _report(plan, epoch, failed)

        _train(plan, ready, spread, failed, tell, report)
        report()
    if not lines:
        name, why = next(iter(failed.items()))
        raise TrainingError(f"not one run could be trained; {name}: {why}")
    return Outcome(lines, failed)


def collect(plan: Plan) -> list[Result]:
    """The finished runs, in the order of models and cells."""
    results = [
        Result(run.model, run.cell, run.seed, plan.kind.figures(run.folder, run.setup.costs))
        for run in plan.runs
        if is_finished(run, plan.kind)
    ]
    models = list(plan.grid.models)
    return sorted(results, key=lambda result: models.index(result.model))


def job_of(plan: Plan, run: Run) -> Job:
    """The command of a run."""
    setup = run.setup
    recipe: dict[str, Any] = setup.recipe.model_dump(mode="json")
    return make_job(run.name, run.folder, cell_record(run), plan.kind.command, plan.kind.data, setup.model, recipe)


def progress(plan: Plan) -> list[tuple[Run, str]]:
    """Every run and how far it is: "finished", "begun" or "to do"."""

    def state(run: Run) -> str:
        if is_finished(run, plan.kind):
            return "finished"
        return "begun" if (run.folder / LOG).is_file() else "to do"

    return [(run, state(run)) for run in all_runs(plan)]


def _train(
    plan: Plan, runs: list[Run], spread: Spread, failed: dict[str, str], tell: Tell, report: Callable[[], None]
) -> None:
    count = 0

    def done(position: int, why: str | None) -> None:
        nonlocal count
        run, count = runs[position], count + 1
        place = f"[{count}/{len(runs)}] {run.name}"
        if why is None and not is_finished(run, plan.kind):
            why = f"it ended without {plan.kind.results}"
        if why is not None:
            failed[run.name] = f"{why} (see {run.folder / LOG})"
            tell(f"{place}: failed, {failed[run.name]}")
        else:
            tell(f"{place}: {_said(plan, run)}")
        report()

    if runs:
        spread([job_of(plan, run) for run in runs], done)


def _said(plan: Plan, run: Run) -> str:
    figures = plan.kind.figures(run.folder, run.setup.costs)
    scores = "  ".join(
        f"{title} {100 * figures.last[name]:.2f}"
        for name, title in zip(plan.kind.scores, plan.kind.titles, strict=True)
        if name in figures.last
    )
    return f"{scores}  {figures.training_seconds or 0:.0f} s"


def _report(plan: Plan, epoch: Epoch, failed: dict[str, str]) -> list[Line]:
    return write_report(plan, collect(plan), epoch, failed)


@contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """SIGTERM leaves through the code that stops the run, with status 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: Any) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
