"""Runs on the machines of a Ray cluster: one trial is one.

Every machine must see the grid's folder and the data under the same paths (a shared file system), and have the same
install. Ray decides where and when; a run itself is the same process as without Ray.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ghostyolo.ablate.job import Job, train
from ghostyolo.ablate.train_cells import Spread
from ghostyolo.errors import ConfigError
from ghostyolo.extras import require

LOCAL = "local"


def ray_spread(address: str, *, cpus: float, gpus: float, storage: str) -> Spread:
    """Connect to a cluster.

    Args:
        address: ``"local"`` starts Ray on this machine, ``"auto"`` finds the one that runs here, else HOST:PORT.
        cpus, gpus: that a run takes.
        storage: folder for Ray Tune's own records.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster there, or none with so many GPUs or CPUs.
    """
    require("ray", "--ray")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    import ray

    try:
        ray.init(
            address=None if address == LOCAL else address,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level="error",
            configure_logging=True,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--ray {address}: no Ray cluster there ({str(error).splitlines()[0]})") from error
    held = ray.cluster_resources()
    for name, wanted in (("CPU", cpus), ("GPU", gpus)):
        if wanted > held.get(name, 0):
            raise ConfigError(f"--ray {address}: a run wants {wanted:g} {name}s, the cluster has {held.get(name, 0):g}")

    def spread(jobs: list[Job], done: Callable[[int, str | None], None]) -> None:
        _run_trials(jobs, done, {"cpu": cpus, "gpu": gpus}, storage)

    return spread


def _run_trials(
    jobs: list[Job], done: Callable[[int, str | None], None], resources: dict[str, float], storage: str
) -> None:
    from ray import tune

    def trial(config: dict[str, Any]) -> dict[str, Any]:
        position = config["run"]
        return {"run": position, "why": train(jobs[position]) or ""}

    class Report(tune.Callback):
        """Stays in this process; Tune pickles it to restore experiments, which is not how a grid goes on."""

        def __init__(self, tell: Callable[[int, str | None], None] | None) -> None:
            self.tell = tell

        def __getstate__(self) -> dict[str, Any]:
            return {"tell": None}

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            if self.tell is not None:
                self.tell(trial.last_result["run"], trial.last_result["why"] or None)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            if self.tell is not None:
                self.tell(trial.config["run"], "its Ray trial failed")

    tune.Tuner(
        tune.with_resources(trial, resources),
        param_space={"run": tune.grid_search(list(range(len(jobs))))},
        run_config=tune.RunConfig(storage_path=storage, callbacks=[Report(done)], verbose=0),
    ).fit()
