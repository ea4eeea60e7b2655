"""The pages tell the truth: their commands exist and run, their options and figures are the code's."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import re
import shutil
from pathlib import Path

import cv2
import pytest
import yaml

from tests.docs.pages import PAGES, REPOSITORY, blocks, commands, page_name
from tests.runtime.colour_model import MODEL_PATH

pytest.importorskip("torch", reason="the pages use commands of the train extra")
pytest.importorskip("sklearn", reason="the pages' data set is made of generated scenes")

DOCS = REPOSITORY / "docs"
BUILTIN = ("bccd", "neu-det", "digits")
SMALL_SCENES = ["--train", "6", "--val", "3", "--imgsz", "96"]
SHORT_TRAINING = ["--epochs", "1", "--imgsz", "64", "--batch", "4", "--device", "cpu", "--threads", "1"]
SHORT_TRAINING += ["--set", "plots=false"]
FEW_RUNS = ["--runs", "2", "--warmup", "0", "--threads", "1"]

each_page = pytest.mark.parametrize("page", PAGES, ids=page_name)
each_page_with_commands = pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=page_name)


@pytest.fixture(scope="session")
def command_line():
    """The real command line as a click command."""
    import typer.main

    from ghostyolo.cli import main

    main._register()
    return typer.main.get_command(main.app)


@pytest.fixture(scope="session")
def stage(tmp_path_factory) -> Path:
    """A folder with all that the pages name: data, photos, a video and a finished run."""
    import torch

    from ghostyolo import __version__
    from ghostyolo.data.scenes import generate_scenes
    from ghostyolo.metadata import ModelMetadata
    from ghostyolo.models import build_model
    from ghostyolo.models.weights import save_checkpoint
    from tests.integrations.published.builders import their_tensors
    from tests.runtime.videos import write_video

    folder = tmp_path_factory.mktemp("stage")
    data = generate_scenes(folder / "my-data", of="digits", train=6, val=3, imgsz=96)
    pictures = [record.path for record in data.splits["val"]]
    generate_scenes(folder / "more", of="digits", train=6, val=0, imgsz=320, seed=1)
    shutil.move(folder / "more" / "images" / "train", folder / "unlabelled")
    shutil.rmtree(folder / "more")
    (folder / "photos").mkdir()
    for path in pictures:
        shutil.copy(path, folder / "photos")
    shutil.copy(pictures[0], folder / "photo.jpg")
    frame = cv2.imread(str(pictures[0]))[:, :, ::-1]
    write_video(folder / "clip.mp4", [frame, frame])
    model = build_model("yolov13n-ghostnetv3", num_classes=10, branches=1)
    metadata = ModelMetadata(version=__version__, model=model.config.name, class_names=data.class_names, imgsz=96)
    for file, network in (("yolov8n.pt", "yolov8n"), ("yolox_nano.pth", "yolox-nano")):
        torch.save(their_tensors(build_model(network, num_classes=10)), folder / file)
    for run in ("train", "mine", "qat"):
        save_checkpoint(model, metadata, folder / "runs" / run / "best.safetensors")
    return folder


@pytest.fixture
def workplace(stage, tmp_path, monkeypatch) -> Path:
    """A copy of the stage as the current folder."""
    folder = tmp_path / "work"
    shutil.copytree(stage, folder)
    monkeypatch.chdir(folder)
    return folder


def run(command_line, arguments: list[str], statuses: tuple[int, ...] = (0,)) -> None:
    """Run a command in this process; our errors are raised, and so is an exit with another status."""
    try:
        status = command_line.main(arguments, standalone_mode=False) or 0
    except SystemExit as stop:
        status = stop.code or 0
    if status not in statuses:
        raise RuntimeError(f"ghostyolo {' '.join(arguments)} exits with status {status}")


def is_quick(arguments: list[str]) -> bool:
    """Whether a command can be run here and at once."""
    from ghostyolo.runtime.weights import builtin_names

    if arguments[0] in ("train", "pretrain", "ablate") or "--train" in arguments[:2]:
        return False
    if "--web" in arguments:
        return False  # it serves a page until Ctrl-C
    if arguments[0] == "--import":
        return False  # a test of its own
    if arguments[0] in ("benchmark", "fit") and ("--weights" not in arguments or "--engine" in arguments):
        return False  # networks are built and exported first
    if {"--line", "--track"} & {*arguments} and importlib.util.find_spec("trackers") is None:
        return False  # it is installed by itself
    if any("://" in word for word in arguments):
        return False
    wanted = {word for word in arguments if word in BUILTIN}
    if arguments[0] == "demo":
        wanted.add("digits")
    return wanted <= set(builtin_names())


@each_page_with_commands
def test_every_command_parses(page, command_line):
    for arguments in commands(page):
        if arguments[0].startswith("--"):
            continue  # --help and --version leave at once
        group, rest = command_line, list(arguments)
        context = command_line.make_context("ghostyolo", rest, resilient_parsing=True)
        while hasattr(group, "commands"):
            name, group, rest = group.resolve_command(context, rest)
            # The context of a group takes its own options off the front; a command's takes and checks them all.
            is_group = hasattr(group, "commands")
            context = group.make_context(name, rest, parent=context, resilient_parsing=is_group)
            rest = [*context._protected_args, *context.args] if is_group else []


# The Chinese README has the same commands, which a test below holds.
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page) and "zh-CN" not in page.name], ids=page_name)
def test_quick_commands_run(page, command_line, workplace, monkeypatch):
    quick = [arguments for arguments in commands(page) if is_quick(arguments)]
    if not quick:
        pytest.skip("no command of this page is quick, or its weights are not in this package yet")
    for arguments in quick:
        if arguments[0] == "export":  # half a minute; the slow tests do it
            if export_target(arguments).suffix == ".onnx":
                shutil.copy(MODEL_PATH, export_target(arguments))
        elif arguments[0] in ("benchmark", "fit"):
            run(command_line, [*arguments, *FEW_RUNS])
        elif arguments[:2] in (["data", "digits"], ["data", "scenes"]):
            run(command_line, [*arguments, *SMALL_SCENES])
        elif arguments[:2] == ["data", "check"]:
            run(command_line, arguments, statuses=(0, 1))  # 1: it found errors
        else:
            run(command_line, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("page", [DOCS / "export.md", DOCS / "quantise.md", REPOSITORY / "README.md"], ids=page_name)
def test_export_commands_run(page, command_line, workplace):
    for arguments in commands(page):
        if arguments[0] == "export":
            run(command_line, arguments)
            assert export_target(arguments).exists()


def export_target(arguments: list[str]) -> Path:
    """The file or folder that an export command of the pages writes."""
    from ghostyolo.export.exporter import default_out
    from ghostyolo.export.formats import find_format

    options = dict(itertools.pairwise(arguments))
    if "--out" in options:
        return Path(options["--out"])
    return default_out(options["--weights"], find_format(options.get("--format", "onnx")))


def on_one_device(arguments: list[str]) -> list[str]:
    """A command without its settings for several devices."""
    pairs = list(zip(arguments, [*arguments[1:], ""], strict=True))
    left_out = [word == "--set" and value.startswith(("devices=", "precision=")) for word, value in pairs]
    gone = {place + step for place, out in enumerate(left_out) if out for step in (0, 1)}
    return [word for place, word in enumerate(arguments) if place not in gone]


@pytest.mark.slow
@pytest.mark.parametrize("page", [DOCS / "train.md", DOCS / "models.md", REPOSITORY / "README.md"], ids=page_name)
def test_training_commands_run(page, command_line, workplace):
    from ghostyolo.runtime.weights import builtin_names

    shutil.rmtree(workplace / "runs" / "mine")
    for block in blocks(page, "yaml"):
        name = re.match(r"# (\S+\.yaml)\n", block)
        if name:
            (workplace / name[1]).write_text(block)
    for arguments in commands(page):
        needs_weights = {word for word in arguments if word in BUILTIN} - set(builtin_names())
        if arguments[0] != "train" or needs_weights or any(word.startswith("backbone_weights=") for word in arguments):
            continue
        short = ["--device", "cpu"] if "--resume" in arguments else SHORT_TRAINING
        for flag, value in (("--minutes", "0.01"), ("--target-ms", "100000")):  # here and at once, on any machine
            if flag in arguments:
                arguments[arguments.index(flag) + 1] = value
        short = short[2:] if "--minutes" in arguments else short  # epochs follow from the minutes
        run(command_line, [*on_one_device(arguments), *short])
        out = workplace / arguments[arguments.index("--out") + 1]
        assert (out / "best.safetensors").is_file()


@each_page
def test_python_snippets_are_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize(
    "name",
    [
        "data.md",
        "evaluate.md",
        "predict.md",
        "python.md",
        "own-training-loop.md",
        "pseudo-label.md",
        "models.md",
        "checkpoint.md",
        "reparam.md",
        "backbones.md",
        "benchmark.md",
    ],
)
def test_python_snippets_run(name, workplace, capsys):
    shutil.copy(MODEL_PATH, workplace / "small.onnx")
    snippets = blocks(DOCS / name, "python")
    assert snippets
    names = {"__name__": "snippet"}  # a later snippet goes on from those before it
    for snippet in snippets:
        exec(compile(snippet, name, "exec"), names)


def test_a_backbone_outside_the_package_goes_the_whole_way(workplace, run_cli):
    """What the page shows, as it shows it: the file is imported by each command, in a process of its own."""
    page = DOCS / "add-a-backbone.md"
    (workplace / "plain.py").write_text(blocks(page, "python")[0])
    counted, trained, scored, exported = commands(page)
    shown = run_cli(*counted, "--json")
    assert shown.returncode == 0, shown.stderr
    small, large = json.loads(shown.stdout)
    assert (small["backbone"], small["params_m"] < large["params_m"]) == ("plain", True)
    for command in ([*trained, *SHORT_TRAINING], scored):
        done = run_cli(*command)
        assert done.returncode == 0, done.stderr
    lost = run_cli(*scored[2:])
    assert lost.returncode == 2
    assert "unknown backbone 'plain'" in lost.stderr
    assert exported[:3] == ["--import", "plain.py", "export"]


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page_name(page)} links to {target}"


def test_yaml_blocks_are_what_they_say(tmp_path):
    from ghostyolo.ablate.grid import Grid
    from ghostyolo.live.counting import find_regions
    from ghostyolo.models.config import DetectorConfig
    from ghostyolo.train.recipe import TrainRecipe

    kinds = []
    for page in PAGES:
        for block in blocks(page, "yaml"):
            content = yaml.safe_load(block)
            if "backbone" in content:
                DetectorConfig.from_dict(content, page_name(page))
                kinds.append("model")
            elif "epochs" in content:
                kinds.append("recipe")
            elif "models" in content:
                assert Grid.from_dict(content, page_name(page)).changes()
                kinds.append("grid")
            elif "lines" in content:
                (tmp_path / "regions.yaml").write_text(block)
                assert find_regions([], [], str(tmp_path / "regions.yaml"))
                kinds.append("regions")
            else:
                assert content["names"]
                kinds.append("data")
    assert set(kinds) == {"model", "recipe", "grid", "regions", "data"}
    for path in (REPOSITORY / "benchmarks" / "recipes").glob("*.yaml"):
        TrainRecipe.from_dict(TrainRecipe.read(path), path.name)


def test_the_recipe_of_the_train_page_is_one(tmp_path):
    from ghostyolo.train.recipe import TrainRecipe

    (tmp_path / "recipe.yaml").write_text(blocks(DOCS / "train.md", "yaml")[0])
    recipe = TrainRecipe.from_dict(TrainRecipe.read(tmp_path / "recipe.yaml"))
    assert (recipe.lr, recipe.augment.fliplr) == (1e-3, 0)


@pytest.mark.parametrize(("page", "recipe"), [("train.md", "TrainRecipe"), ("pretrain.md", "ClassRecipe")])
def test_page_has_every_setting_with_its_default_and_meaning(page, recipe):
    from ghostyolo.cli.settings import settings_rows
    from ghostyolo.train import recipe as recipes

    model = getattr(recipes, recipe)
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, default, meaning in settings_rows(model):
        if not name.startswith("distil."):  # that table says what is learned
            assert f"| `{name}` | {default} | {meaning} |\n" in text
    assert not {f"`{name}`" for name in model.named()} - set(re.findall(r"`\w+`", text))


def test_train_page_has_every_part_of_distillation_and_its_weight():
    from ghostyolo.train.distil.config import DEFAULT_WEIGHTS, DistilConfig

    text = (DOCS / "train.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(logits|boxes|features|tau)` \| (\S+) \|", text, re.MULTILINE))
    usual = {**DEFAULT_WEIGHTS, "tau": DistilConfig.model_fields["tau"].default}
    assert {name: float(value) for name, value in table.items()} == usual


def test_pretraining_commands_run(command_line, workplace):
    from tests.train.class_pictures import write_folders

    write_folders(workplace / "my-classes", train=2, val=1)
    (workplace / "recipe.yaml").write_text(blocks(DOCS / "pretrain.md", "yaml")[0])
    short = ["--epochs", "1", "--imgsz", "32", "--batch", "4", "--device", "cpu", "--threads", "1"]
    ran = 0
    for arguments in commands(DOCS / "pretrain.md"):
        if arguments[0] != "pretrain":
            continue
        small = ["--device", "cpu"] if "--resume" in arguments else [*short, "--set", "branches=1"]
        smallest = ["ghostnetv3:width=0.25" if word == "ghostnetv3:width=0.5" else word for word in arguments]
        run(command_line, [*smallest, *small])
        assert (workplace / arguments[arguments.index("--out") + 1] / "metrics.json").is_file()
        ran += 1
    assert ran >= 4


def test_grids_of_the_ablate_page_can_be_trained(command_line, workplace, capsys):
    from tests.train.class_pictures import write_folders

    write_folders(workplace / "my-classes", train=2, val=1)
    (workplace / "grid.yaml").write_text(blocks(DOCS / "ablate.md", "yaml")[0])
    for arguments in commands(DOCS / "ablate.md"):
        run(command_line, [*arguments, "--dry-run"])
    listed = capsys.readouterr().out
    assert listed.count(" runs, 0 finished") == 3
    assert "to do     teacher 'big', seed 0" in listed


@pytest.mark.parametrize(
    ("command", "page"),
    [
        (("train",), "train.md"),
        (("pretrain",), "pretrain.md"),
        (("ablate",), "ablate.md"),
        (("val",), "evaluate.md"),
        (("predict",), "predict.md"),
        (("pseudo-label",), "pseudo-label.md"),
        (("export",), "export.md"),
        (("models",), "models.md"),
        (("benchmark",), "benchmark.md"),
        (("fit",), "benchmark.md"),
        (("data", "check"), "data.md"),
        (("data", "split"), "data.md"),
        (("data", "show"), "data.md"),
        (("data", "convert"), "data.md"),
        (("data", "digits"), "data.md"),
        (("data", "anchors"), "data.md"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_pages_name_every_flag(command_line, command, page):
    text = (DOCS / page).read_text(encoding="utf-8")
    for name in command:
        command_line = command_line.commands[name]
    flags = {parameter.opts[0] for parameter in command_line.params if parameter.opts[0].startswith("--")} - {"--help"}
    # The train page's table has its options by their names in YAML, without dashes.
    missing = {flag for flag in flags if flag not in text and f"`{flag[2:].replace('-', '_')}`" not in text}
    assert not missing


def test_data_page_has_every_kind_of_fault():
    from ghostyolo.data.faults import KINDS

    rows = re.findall(
        r"^\| `([\w-]+)` \| (error|warning|info) \|", (DOCS / "data.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert dict(rows) == {name: kind.level for name, kind in KINDS.items()}


def test_checkpoint_page_has_every_key_of_the_metadata():
    from ghostyolo.metadata import ModelMetadata

    text = (DOCS / "checkpoint.md").read_text(encoding="utf-8")
    assert not [key for key in ModelMetadata.model_fields if f"`{key}`" not in text]


def test_model_tables_are_what_the_command_counts():
    from ghostyolo.models.costs import counted_row
    from ghostyolo.models.names import list_models

    counted = {name: counted_row(name, 640, 80) for name in list_models()}
    text = (DOCS / "models.md").read_text(encoding="utf-8").partition("<!-- models table")[2]
    text = text.partition("<!-- end of the models table -->")[0]
    table = re.findall(r"^\| ((?:ghost)?yolo\S+) \| (\d.*) \|$", text, re.MULTILINE)
    assert {name for name, _ in table} == set(counted)
    keys = ("params_deployed_m", "params_m", "macs_g", "flops_g")
    for name, figures in table:
        written = [float(figure) for figure in figures.split(" | ")]
        assert written == pytest.approx([counted[name][key] for key in keys], abs=0.006), name
    for page in ("README.md", "README.zh-CN.md"):
        rows = re.findall(r"^\| ([nslx]) \| (.*) \|$", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert len(rows) == 4
        for scale, cells in rows:
            for suffix, cell in zip(("", "-ghostnetv3", "-ghostnetv3-psa"), cells.split(" | "), strict=True):
                row = counted[f"yolov13{scale}{suffix}"]
                params, flops = (float(figure) for figure in re.findall(r"[\d.]+", cell))
                assert params == pytest.approx(row["params_deployed_m"], abs=0.006), (page, scale, suffix)
                assert flops == pytest.approx(row["flops_g"], abs=0.006), (page, scale, suffix)


def test_ci_runs_the_readme_s_test_command_word_for_word():
    line = next(line for line in blocks(REPOSITORY / "README.md", "bash")[-1].splitlines() if "pytest" in line)
    assert line in (REPOSITORY / "README.zh-CN.md").read_text(encoding="utf-8")
    assert f"test_command='{line}'" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")


def test_both_readmes_have_the_same_commands_and_figures():
    english, chinese = REPOSITORY / "README.md", REPOSITORY / "README.zh-CN.md"
    assert commands(english) == commands(chinese)

    def figures(page: Path) -> list[str]:
        lines = page.read_text(encoding="utf-8").splitlines()
        return [cell for line in lines if line.startswith("|") for cell in re.findall(r"\d+\.\d+", line)]

    assert figures(english) == figures(chinese)
