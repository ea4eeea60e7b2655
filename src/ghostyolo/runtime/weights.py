"""Turn ``--weights NAME | PATH | hf://owner/repo/file`` into a file on this disk."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ghostyolo.errors import WeightsError, suggest
from ghostyolo.integrations.published.releases import RELEASES
from ghostyolo.models.names import list_models
from ghostyolo.runtime.engines import check_not_pickle, engine_suffixes, find_kind

HUB_PREFIX = "hf://"


def assets_folder() -> Path:
    """The folder inside the package that holds built-in weights and pictures."""
    return Path(str(resources.files("ghostyolo"))) / "assets"


def builtin_names() -> list[str]:
    """Names of the weights inside the package, sorted."""
    return sorted({path.stem for path in assets_folder().glob("*") if path.suffix in engine_suffixes()})


def start_names() -> list[str]:
    """Networks that have start weights inside the package, sorted."""
    return sorted(path.stem for path in (assets_folder() / "start").glob("*.safetensors"))


def start_weights(network: str) -> Path | None:
    """Return the file that training begins from; None: there is none."""
    return assets_folder() / "start" / f"{network}.safetensors" if network in start_names() else None


def resolve_weights(weights: str | Path, suffixes: tuple[str, ...] | None = None) -> Path:
    """Find the file of a name, a path or a Hugging Face address.

    Args:
        weights: a built-in name (``"bccd"``), the name of published weights (``"yolox-nano"``, fetched once), an
            existing file or folder of an exported model, or ``hf://owner/repo/file``.
        suffixes: which of a built-in's files to prefer, first best; fine-tuning asks for
            ``(".safetensors",)``.

    Raises:
        WeightsError: nothing of that name or address, or a pickle (which is never opened).
    """
    text = str(weights)
    if text.startswith(HUB_PREFIX):
        return _from_hub(text)
    check_not_pickle(text)
    for suffix in engine_suffixes() if suffixes is None else suffixes:
        asset = assets_folder() / f"{text}{suffix}"
        if text in builtin_names() and asset.is_file():
            return asset
    if text in RELEASES:
        from ghostyolo.integrations.published.download import fetch_published

        return fetch_published(text)
    path = Path(text).expanduser()
    if path.is_file() or (path.is_dir() and find_kind(path)):
        return path
    if path.is_dir():
        raise WeightsError(f"{text} is a folder without an exported model: name the weights file in it")
    if find_kind(path) or len(path.parts) > 1:
        raise WeightsError(f"{text} does not exist: check the path, or use {_valid_names()}")
    if text in list_models():
        raise WeightsError(
            f"'{text}' is a network, and weights are what training it gives: train --model {text}, then give its "
            f"best.safetensors; built-in weights are {', '.join(builtin_names()) or 'none'}"
        )
    near = suggest(text, [*builtin_names(), *RELEASES])
    hint = near if near.startswith("did") else f"give {_valid_names()}"
    raise WeightsError(f"no weights named '{text}', and no such file: {hint}")


def _valid_names() -> str:
    published = "published weights by name, such as yolox-nano"
    names = builtin_names()
    return f"a built-in name: {', '.join(names)}, or {published}" if names else f"a path, or {published}"


def _from_hub(address: str) -> Path:
    parts = address[len(HUB_PREFIX) :].split("/")
    if len(parts) < 3 or not all(parts):
        raise WeightsError(f"{address} is not a Hugging Face address: write hf://owner/repository/file.onnx")
    check_not_pickle(address)
    repository, filename = "/".join(parts[:2]), "/".join(parts[2:])
    kind = find_kind(filename)
    if kind is not None and kind.program:
        raise WeightsError(
            f"{address} is a program for {kind.name}, which can do anything when it is opened: if you trust its maker, "
            "download it yourself and give its path"
        )

    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(repository, filename))
    except LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError, so it comes first
        raise _offline(address) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(f"{address}: no repository {repository} on Hugging Face, or it is private") from error
    except EntryNotFoundError as error:
        raise WeightsError(f"{address}: repository {repository} has no file {filename}") from error
    except Exception as error:  # the HTTP library's own errors differ between versions of huggingface_hub
        raise _offline(address) from error


def _offline(address: str) -> WeightsError:
    return WeightsError(
        f"{address} cannot be fetched (no network, or Hugging Face does not answer) and is not cached here: "
        "fetch it on another machine and give its path"
    )
