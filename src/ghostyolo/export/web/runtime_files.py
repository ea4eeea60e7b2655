"""Brings the files of ONNX Runtime Web.

They are fetched once from npm, checked, and kept in the user's cache: they are far larger than this package.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from ghostyolo.errors import ExportError, WeightsError
from ghostyolo.files import cache_folder, sha256_of
from ghostyolo.integrations.published.download import download

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
# Of the file whose npm integrity is
# sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"

FILES = (
    "ort.wasm.min.mjs",  # WebAssembly: 14 MB in all
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",  # WebGPU: 27 MB in all, which a browser loads only where it has WebGPU
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)


def fetch_runtime() -> Path:
    """Return npm's package (33 MB), from the cache where it is there.

    Raises:
        ExportError: no network, an interrupted download, or another checksum.
        OutputError: the cache cannot be written.
    """
    package = cache_folder() / "web" / Path(URL).name
    if package.is_file():
        if sha256_of(package) == SHA256:
            return package
        package.unlink()
    try:
        download(URL, package, SHA256, elsewhere=f"put it at {package}")
    except WeightsError as error:
        raise ExportError(f"a web page needs ONNX Runtime Web: {error}") from error
    return package


def unpack_runtime(package: Path, folder: Path) -> None:
    """Put the files that a page needs into a new folder, with their licence."""
    folder.mkdir()
    with tarfile.open(package) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the checksum says that it is a file
            (folder / name).write_bytes(member.read())
    licence = Path(__file__).with_name("onnxruntime-LICENSE")
    (folder / "LICENSE").write_bytes(licence.read_bytes())
