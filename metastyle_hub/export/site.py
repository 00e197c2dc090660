"""The browser page as one folder of static files: page, runtime, graphs, base, styles.

Its sources are in `space/browser` of a checkout; onnxruntime-web comes from npm, at the version in package.json.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.artifacts.serialization import Artifact, read_artifact
from metastyle_hub.data.examples import example_contents, example_styles
from metastyle_hub.errors import ExportError, first_line
from metastyle_hub.hub.download import EMBEDDED
from metastyle_hub.images.io import load_image

__all__ = ["CHECKOUT_PAGE", "build_site"]

CHECKOUT_PAGE = Path(__file__).resolve().parents[2] / "space" / "browser"
"""The folder of the page's sources, in a checkout of the project."""

_FILE_LIST, _KEY = "files.json", "sources.sha256"
_PAGE = ("index.html", "style.css", "manifest.webmanifest", "icon.svg", "service-worker.js", "README.md", "src")
_RUNTIME = ("wasm", ""), ("jspi", ".jspi"), ("webgpu", ".asyncify")  # WebAssembly; WebGPU; WebGPU in older browsers
# the Hub's client and what it imports, by the names in the import map of index.html
_CLIENT = (
    ("@huggingface/hub/dist/browser", "hub"),
    ("@huggingface/xetchunk-wasm/dist/esm", "xetchunk-wasm"),
    ("@huggingface/blake3-jit/dist/esm", "blake3-jit"),
    ("gearhash-jit/dist/esm", "gearhash-jit"),
)
_PACKAGE = Path(__file__).parents[1]
_ABOVE_EXPORT = ("app", "cli", "hub", "training")  # parts of the package that an export does not depend on
_THUMBNAIL = 184  # pixels of the short side
_NPM_SECONDS = 600

ExportModel = Callable[[Artifact, Mapping[str, Artifact], Path], Any]


def build_site(
    target: Path | None = None,
    base: Path | None = None,
    *,
    styles: Path | None = None,
    page: Path = CHECKOUT_PAGE,
    export: ExportModel | None = None,
) -> Path:
    """Put everything that the page needs into a folder, which any web server can serve.

    The graphs stay while base, styles, the package's code and the version of torch are the same, so that only the first
    call takes a minute or two.

    Args:
        target: default `site` beside the page's sources.
        base: folder of the base; default that of the package.
        styles: folder of styles; default `styles` beside the page's sources.
        page: folder of the page's sources.
        export: writes the graphs, default `export_browser`.

    Raises:
        ExportError: without a checkout or npm, or if npm fails.
        ArtifactError: for a base or style that cannot be exported.

    Example::

        build_site()
    """
    if not (page / "index.html").is_file():
        raise ExportError(f"The page's sources are not in {page}; run this in a checkout of the project.")
    target = target or page / "site"
    target.mkdir(parents=True, exist_ok=True)
    _copy_page(page, target)
    _copy_runtime(page, target / "vendor")
    folders = sorted(config.parent for config in (styles or page.parent / "styles").glob(f"*/{CONFIG_FILE}"))
    _export_model(target / "model", base or EMBEDDED, folders, export)
    _write_thumbnails(target / "thumbs", [folder.name for folder in folders])
    _write_file_list(target)
    return target


def _copy_page(page: Path, target: Path) -> None:
    shutil.rmtree(target / "src", ignore_errors=True)
    for name in _PAGE:
        copy = shutil.copytree if (page / name).is_dir() else shutil.copyfile
        copy(page / name, target / name)


def _copy_runtime(page: Path, target: Path) -> None:
    """Copy onnxruntime-web and the Hub's client from node_modules, where npm puts the versions of package.json."""
    modules = page / "node_modules"
    wanted = json.loads((page / "package.json").read_text(encoding="utf-8"))["dependencies"]
    if not all(_is_version(modules / name / "package.json", version) for name, version in wanted.items()):
        _install(page)
    runtime = modules / "onnxruntime-web" / "dist"
    names = [f"ort.{bundle}.bundle.min.mjs" for bundle, _ in _RUNTIME]
    names += [f"ort-wasm-simd-threaded{suffix}.wasm" for _, suffix in _RUNTIME]
    copies = [(runtime / name, target / name) for name in names]
    for folder, name in _CLIENT:
        files = [file for file in (modules / folder).iterdir() if file.suffix in (".js", ".mjs")]
        copies += [(file, target / name / file.name) for file in files if file.name != "index.js" or name != "hub"]
    shutil.rmtree(target, ignore_errors=True)
    for source, copy in copies:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def _is_version(package: Path, version: str) -> bool:
    return package.is_file() and json.loads(package.read_text(encoding="utf-8"))["version"] == version


def _install(page: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError("The page needs packages from npm, which is not installed; install Node.js.")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=page, capture_output=True, text=True, timeout=_NPM_SECONDS)
    except subprocess.TimeoutExpired:
        raise ExportError(f"npm took longer than {_NPM_SECONDS} s; check the connection and try again.") from None
    if done.returncode:
        raise ExportError(f"npm failed ({first_line(done.stderr)}); run npm ci in {page} to see more.")


def _export_model(folder: Path, base: Path, styles: list[Path], export: ExportModel | None) -> None:
    loaded, artifacts = read_artifact(base), {style.name: read_artifact(style) for style in styles}
    code = (f for f in sorted(_PACKAGE.rglob("*.py")) if f.relative_to(_PACKAGE).parts[0] not in _ABOVE_EXPORT)
    stored = (artifact / name for artifact in (base, *styles) for name in (CONFIG_FILE, WEIGHTS_FILE))
    key = f"{torch.__version__} {_digest([*code, *stored, *example_contents().values()])}"
    if (folder / _KEY).is_file() and (folder / _KEY).read_text(encoding="utf-8") == key:
        return
    if export is None:
        try:
            from metastyle_hub.export.browser import export_browser
        except ImportError as error:
            raise ExportError(
                f"The page's graphs need {error.name}; run: pip install 'metastyle-hub[export]'."
            ) from None
        export = export_browser
    shutil.rmtree(folder, ignore_errors=True)
    export(loaded, artifacts, folder)
    (folder / _KEY).write_text(key, encoding="utf-8")


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.parent.name}/{file.name}".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _write_thumbnails(folder: Path, styles: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    images = example_contents() | {name: path for name, path in example_styles().items() if name in styles}
    for name, path in images.items():
        image = load_image(path).convert("RGB")
        scale = _THUMBNAIL / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.LANCZOS)  # type: ignore[arg-type]
        image.save(folder / f"{name}.jpg", "JPEG", quality=80, optimize=True)


def _write_file_list(target: Path) -> None:
    """List what the service worker keeps for use without a network; of the runtime a device needs one file."""
    unlisted = (_FILE_LIST, _KEY, "README.md")
    files = [file for file in sorted(target.rglob("*")) if file.is_file() and file.name not in unlisted]
    paths = [file.relative_to(target).as_posix() for file in files]
    offline = [".", *(path for path in paths if not path.startswith("vendor/"))]
    text = json.dumps({"version": _digest(files)[:12], "offline": offline}, indent=1)
    (target / _FILE_LIST).write_text(text + "\n", encoding="utf-8")
