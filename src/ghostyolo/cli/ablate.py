"""``ghostyolo ablate``: which ingredient of a training helps, on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ghostyolo.ablate.cells import Plan
    from ghostyolo.ablate.train_cells import Outcome


def ablate(
    grid: Path | None = typer.Argument(None, help="YAML file of the grid; or say it with flags.", show_default=False),
    task: str | None = typer.Option(
        None, help="classification (cells are trained by pretrain) or detection (by train) [classification]."
    ),
    data: str | None = typer.Option(None, help="The data set, as pretrain or train takes it.", show_default=False),
    model: list[str] = typer.Option([], help="A network to train; may be repeated.", show_default=False),
    seeds: str | None = typer.Option(None, help="How many, from 0 on; or which, comma between.", show_default=False),
    base: list[str] = typer.Option(
        [], help="KEY=VALUE that all cells share, an option of the command; may be repeated.", show_default=False
    ),
    vary: list[str] = typer.Option(
        [], help="KEY=VALUE,VALUE,... each alone against the base; may be repeated.", show_default=False
    ),
    cross: bool = typer.Option(False, "--cross", help="Train all combinations of --vary instead."),
    out: Path = typer.Option(Path("runs/ablate"), help="Folder of the grid; the same one goes on with it."),
    epoch: str = typer.Option("last", help="Compare the weights after the last epoch, or of the best one."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Check everything, list the runs, train nothing."),
    ray: str | None = typer.Option(
        None, help="Spread runs by Ray Tune: local, auto, or HOST:PORT of a cluster.", show_default=False
    ),
    ray_cpus: float = typer.Option(1, min=0, help="CPUs of a run, for Ray."),
    ray_gpus: float = typer.Option(0, min=0, help="GPUs of a run, for Ray."),
) -> None:
    """Train variants with several seeds, and say which differ by more than chance."""
    from ghostyolo.extras import require
    from ghostyolo.openmp import wait_passively

    require("train", "training")
    wait_passively()
    from rich.console import Console

    from ghostyolo.ablate.cells import make_plan
    from ghostyolo.ablate.grid import Grid
    from ghostyolo.ablate.train_cells import Spread, one_after_another, run_grid
    from ghostyolo.errors import ConfigError

    if epoch not in ("last", "best"):
        raise ConfigError(f"--epoch '{epoch}' is neither last nor best")
    values = _declaration(grid, task, data, model, seeds, base, vary, cross)
    plan = make_plan(Grid.from_dict(values, "grid" if grid is None else str(grid)), out)
    console = Console()

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if dry_run:
        _list(plan, say)
        return
    say(f"{len(plan.runs)} runs, all checked; in {plan.out}")
    spread: Spread = one_after_another
    if ray is not None:
        from ghostyolo.ablate.ray_tune import ray_spread

        spread = ray_spread(ray, cpus=ray_cpus, gpus=ray_gpus, storage=str(plan.out / "ray"))
    outcome = run_grid(plan, say, epoch="best" if epoch == "best" else "last", spread=spread)
    _print(console, plan, outcome)
    if outcome.failed:
        from ghostyolo.errors import TrainingError

        name, why = next(iter(outcome.failed.items()))
        raise TrainingError(
            f"{len(outcome.failed)} of the runs failed, the first: {name}: {why}; the same command tries them again"
        )


def _declaration(
    file: Path | None,
    task: str | None,
    data: str | None,
    models: list[str],
    seeds: str | None,
    base: list[str],
    vary: list[str],
    cross: bool,
) -> dict[str, Any]:
    """The file's keys, with those of flags in their place."""
    from ghostyolo.config import merge_options, parse_assignment, read_yaml
    from ghostyolo.errors import ConfigError

    values: dict[str, Any] = {} if file is None else read_yaml(file, "grid")
    flags: dict[str, Any] = {"task": task, "data": data, "models": models or None, "seeds": _seeds(seeds)}
    values |= {key: value for key, value in flags.items() if value is not None}
    if base:
        given = dict(parse_assignment(text, "--base") for text in base)
        values["base"] = merge_options(values.get("base") or {}, given)
    axes: dict[str, Any] = {}
    for text in vary:
        key, value = parse_assignment(text, "--vary", several=True)
        if key in axes:
            raise ConfigError(f"--vary {key} is there twice: give all its values in one")
        axes[key] = value
    if cross and not axes:
        raise ConfigError("--cross combines what is varied: give --vary KEY=VALUE,VALUE")
    if axes:
        place = "product" if cross else "vary"
        values[place] = {**(values.get(place) or {}), **axes}
    return values


def _seeds(text: str | None) -> int | list[int] | None:
    from ghostyolo.errors import ConfigError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--seeds '{text}': write how many, such as 3, or which, such as 0,1,2")
    return [int(part) for part in parts] if "," in text else int(parts[0])


def _list(plan: Plan, say: Any) -> None:
    from ghostyolo.ablate.train_cells import progress

    states = progress(plan)
    for run, state in states:
        say(f"{state:8}  {run.name}")
    for (model, cell), other in plan.same.items():
        say(f"{'same':8}  {model}, {cell}: is {other}")
    done = sum(state == "finished" for _, state in states)
    say(f"{len(states)} runs, {done} finished; everything is checked, nothing was trained")


def _print(console: Console, plan: Plan, outcome: Outcome) -> None:
    from ghostyolo.ablate.report import NAME, cells, headings
    from ghostyolo.cli.tables import print_choices

    head = headings(plan)
    shown = ("model", "cell", "seeds", head[3], "deviation", "difference", "95 % interval", "shows", "cost")
    print_choices(console, head, [cells(line) for line in outcome.lines], shown)
    console.print(f"written: {plan.out / NAME}.md, .csv, .json, .png", markup=False, highlight=False, soft_wrap=True)
