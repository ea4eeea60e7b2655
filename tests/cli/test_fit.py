"""``ghostyolo fit`` end to end on built-in weights at sizes of a few pixels; budgets are far from what they take."""

from __future__ import annotations

import json
import shlex

import pytest

QUICK = ("--runs", 2, "--warmup", 1, "--threads", 1)
PLENTY = 100_000


def commands():
    """The real command line as a click group."""
    import typer.main

    from ghostyolo.cli import main

    main._register()
    return typer.main.get_command(main.app)


def test_the_most_capable_size_is_named_with_the_commands_to_run_next(run_cli, tmp_path):
    done = run_cli(
        *("fit", "--target-ms", PLENTY, "--weights", "digits", "--sizes", "32,64,96", *QUICK, "--json", "out/fit.json"),
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert (result["target_ms"], result["decided_by"]) == (PLENTY, "MACs")
    assert (result["chosen"]["model"], result["chosen"]["imgsz"], result["nearest"]) == ("digits", 96, None)
    measured, skipped = ({row["imgsz"] for row in result[key]} for key in ("rows", "skipped"))
    assert measured == {32, 96}
    assert skipped == {64}
    train, export = shlex.split(result["train"]), shlex.split(result["export"])
    assert train == [
        "ghostyolo",
        "train",
        "--data",
        "my-data",
        "--weights",
        "digits",
        "--imgsz",
        "96",
        "--out",
        "runs/fit",
    ]
    assert export[:4] == ["ghostyolo", "export", "--weights", "runs/fit/best.safetensors"]
    assert export[4:] == ["--format", "onnx", "--imgsz", "96", "--static"]
    assert result["train"] in done.stdout
    assert result["export"] in done.stdout
    assert "not measured: digits at 64 px" in done.stdout
    for words in (train, export):
        commands().commands[words[1]].make_context(words[1], words[2:])


def test_nothing_fits_is_exit_2_with_the_nearest_and_the_table(type_cli, tmp_path):
    done = type_cli(
        *("fit", "--target-ms", 0.0001, "--weights", "digits", "--sizes", "32,320", *QUICK, "--json", "fit.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: nothing measured meets the budget; nearest is digits 32 fp32 onnxruntime")
    assert done.stderr.count("\n") == 1
    result = json.loads((tmp_path / "fit.json").read_text())
    assert (result["chosen"], result["train"], result["nearest"]["imgsz"]) == (None, "", 32)
    assert [row["imgsz"] for row in result["rows"]] == [32]
    assert [one["imgsz"] for one in result["skipped"]] == [320]
    assert "digits" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target-ms", 0), "--target-ms must be above 0, not 0"),
        (("--target-ms", 5, "--memory-mb", -1), "--memory-mb must be above 0, not -1"),
        (("--target-ms", 5, "--weights", "digitss"), "did you mean digits"),
        (("--target-ms", 5, "--weights", "digits", "--models", "yolov8n"), "give one of them"),
        (
            ("--target-ms", 5, "--weights", "digits", "--sizes", "100"),
            "imgsz 100 is not a multiple of 32, as networks need",
        ),
        (("--target-ms", 5, "--weights", "digits", "--sizes", "big"), "--sizes 'big'"),
        (("--target-ms", 5, "--weights", "digits", "--engines", "onnx"), "onnxruntime"),
        (("--target-ms", 5, "--weights", "digits", "--threads", 0), "threads must be at least 1"),
        (("--target-ms", 5, "--weights", "digits", "--data", "absent"), "absent"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_wrong_input_is_one_line_and_writes_nothing(type_cli, tmp_path, arguments, words):
    done = type_cli("fit", *arguments, "--json", "fit.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not list(tmp_path.iterdir())
