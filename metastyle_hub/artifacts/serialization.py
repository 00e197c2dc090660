"""What is saved and shared: a folder with `config.json` and `model.safetensors`. Strict to read, atomic to write.

    kind "base"     the whole network theta; with it, under names that start with "predictor.", the network that guesses
                    where the adaptation to a style begins, if the base has one
    kind "style"    what adaptation moved: parameters "norm", 3,200 scales and shifts, 13 kB; "decoder", these and the
                    convolutions behind the trunk, 0.4 MB; "all", the whole network, 7 MB;
                    and the fingerprint of the base that it was adapted from

Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig, is_ours
from metastyle_hub.errors import ArtifactError
from metastyle_hub.losses import MAX_STYLE_SCALES
from metastyle_hub.networks.feature_extractor import SPECS
from metastyle_hub.networks.transformer_net import TransformerNet, NetworkConfig
from metastyle_hub.networks.param_groups import Parameters, trainable_parameters
from metastyle_hub.networks.style_predictor import StylePredictor

__all__ = [
    "Artifact",
    "artifact_files",
    "check_folder",
    "checked_parameters",
    "checked_predictor",
    "expected_parameters",
    "expected_predictor",
    "fingerprint",
    "read_artifact",
    "stored_tensors",
    "write_artifact",
    "write_files",
]

_PREDICTOR = "predictor."  # what the names of its tensors begin with in a file
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Artifact:
    """A base or style as read: its configuration and exactly the tensors that it calls for."""

    config: ArtifactConfig
    parameters: Parameters
    predictor: Parameters | None = None  # of a base that has one
    origin: Any = None  # the folder or commit it was read from

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters."""
        return fingerprint(self.parameters)


def fingerprint(parameters: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and float32 values: equal if and only if the parameters are.

    >>> fingerprint(base.parameters)[:12]
    """
    digest = hashlib.sha256()
    for name in sorted(parameters):
        values = parameters[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def read_artifact(folder: str | os.PathLike[str], where: str | None = None) -> Artifact:
    """Read and check a folder: every tensor that the configuration calls for, none more, all finite.

    Args:
        where: how to call the folder in messages; default its path.

    Raises:
        ArtifactError: one sentence that says what is wrong.
    """
    folder, where = Path(folder), where or str(folder)
    if not folder.is_dir():
        raise ArtifactError(f"There is no folder {where}; check the path.")
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        pickles = [p.name for p in folder.iterdir() if p.suffix in (".bin", ".pth", ".pt", ".ckpt", ".pkl")]
        hint = f"; {pickles[0]} is not read, since pickled files can run code" if pickles else ""
        raise ArtifactError(f"{where} is no metastyle_hub base or style: it lacks {' and '.join(missing)}{hint}.")
    try:
        text = (folder / CONFIG_FILE).read_text(encoding="utf-8")
        data = (folder / WEIGHTS_FILE).read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where} cannot be read: {error}.") from error
    config = ArtifactConfig.from_json(text, where)
    tensors = _read_tensors(data, where)
    what, remedy = f"{WEIGHTS_FILE} in {where}", "save it again"
    predictor = {name.removeprefix(_PREDICTOR): p for name, p in tensors.items() if name.startswith(_PREDICTOR)}
    if config.kind != "base" or not predictor:
        return Artifact(config, checked_parameters(tensors, config, what, remedy))
    rest = {name: p for name, p in tensors.items() if not name.startswith(_PREDICTOR)}
    return Artifact(
        config,
        checked_parameters(rest, config, what, remedy),
        checked_predictor(predictor, config, f"the predictor in {what}", remedy),
    )


def _read_tensors(data: bytes, where: str) -> Parameters:
    try:
        return load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{WEIGHTS_FILE} in {where} is damaged ({error}); save it again, or load it with force_download=True."
        ) from error


def expected_parameters(architecture: NetworkConfig) -> Parameters:
    """The names and shapes of a network's parameters: tensors on the meta device, without numbers."""
    with torch.device("meta"):
        return dict(TransformerNet(architecture).named_parameters())


def checked_parameters(tensors: Mapping[str, Tensor], config: ArtifactConfig, what: str, remedy: str) -> Parameters:
    """The tensors in float32, if they are those that the configuration calls for, none more, all finite.

    Args:
        what: how to call the tensors in messages.
        remedy: the way out, for messages.

    Raises:
        ArtifactError: one sentence that says what is wrong.
    """
    expected = expected_parameters(config.architecture)
    if config.kind == "style":
        expected = trainable_parameters(expected, config.trainable)
    return _checked(tensors, expected, what, remedy)


def checked_predictor(tensors: Mapping[str, Tensor], config: ArtifactConfig, what: str, remedy: str) -> Parameters:
    """The tensors of a base's predictor in float32, if they are of one for its network and features; see above."""
    if not (expected := expected_predictor(config)):
        raise ArtifactError(f"{what} reads features {config.feature_extractor!r}; known are {', '.join(SPECS)}.")
    return _checked(tensors, expected, what, remedy)


def expected_predictor(config: ArtifactConfig) -> Parameters:
    """The same as `expected_parameters` for the predictor that a base may have; empty where it can have none."""
    if config.kind != "base" or config.feature_extractor not in SPECS:
        return {}
    with torch.device("meta"):
        predictor = StylePredictor(
            SPECS[config.feature_extractor].gram_channels, MAX_STYLE_SCALES, expected_parameters(config.architecture)
        )
        return predictor.state_dict()


def stored_tensors(parameters: Mapping[str, Tensor], predictor: Mapping[str, Tensor] | None) -> Parameters:
    """What goes into `model.safetensors`, by the names that the tensors have there."""
    return {**parameters, **{_PREDICTOR + name: p for name, p in (predictor or {}).items()}}


def _checked(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str, remedy: str) -> Parameters:
    if absent := sorted(expected.keys() - tensors.keys()):
        raise ArtifactError(f"{what} lacks {len(absent)} tensors, {absent[0]} among them; {remedy}.")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise ArtifactError(f"{what} has {len(extra)} tensors too many, {extra[0]} among them; {remedy}.")
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise ArtifactError(
                f"{name} in {what} has shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}; {remedy}."
            )
        # what is tested is what is returned: a float64 may be finite and yet too large
        if value.dtype not in _DTYPES or not bool(torch.isfinite(value.float()).all()):
            raise ArtifactError(f"{name} in {what} holds values that are no finite numbers in float32; {remedy}.")
    return {name: tensors[name].float() for name in expected}


def write_artifact(
    folder: str | os.PathLike[str],
    config: ArtifactConfig,
    parameters: Mapping[str, Tensor],
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a folder, every file whole or not at all.

    Args:
        extra: further files by name, such as README.md.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    return write_files(folder, artifact_files(config, parameters, extra))


def artifact_files(
    config: ArtifactConfig, parameters: Mapping[str, Tensor], extra: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The files of an artefact by name; `config.json`, which makes it one, comes last."""
    values = {k: v.detach().to("cpu", torch.float32).contiguous() for k, v in parameters.items()}
    return {
        WEIGHTS_FILE: save_tensors(values, metadata={"format": "pt"}),
        **(extra or {}),
        CONFIG_FILE: config.to_json().encode(),
    }


def write_files(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write files into a folder, each whole or not at all, in their order.

    Raises:
        ArtifactError: the folder cannot be written, or files of these names cannot go there; see `check_folder`.
    """
    folder = Path(folder)
    asides: dict[Path, Path] = {}
    check_folder(folder, files)
    try:
        for name, data in files.items():
            aside = folder / f".{secrets.token_hex(8)}.tmp"
            asides[folder / name] = aside
            aside.write_bytes(data)
        for target, aside in asides.items():
            aside.replace(target)
    except OSError as error:
        raise _not_written(folder, error) from error
    finally:
        for aside in asides.values():
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
    return folder


def check_folder(folder: str | os.PathLike[str], names: Collection[str] = (WEIGHTS_FILE, CONFIG_FILE)) -> None:
    """Refuse a folder where files of these names cannot go, before the work of making them. Makes the folder.

    Raises:
        ArtifactError: it cannot be written, a name is a path or a folder that is there, or another library's
            configuration would be overwritten.

    >>> check_folder("starry")
    """
    folder = Path(folder)
    for name in names:
        if name in ("", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ArtifactError(f"{name!r} is no file name to write into {folder}; give a name without folders.")
    config = folder / CONFIG_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # whether a file can be made there, only making one tells
            pass
        taken = next((name for name in names if (folder / name).is_dir()), None)
        others = CONFIG_FILE in names and config.is_file() and not is_ours(_json(config))
    except OSError as error:
        raise _not_written(folder, error) from error
    if taken is not None:
        raise ArtifactError(f"{folder / taken} is a folder where a file should go; choose another folder.")
    if others:
        raise ArtifactError(
            f"{config} is of no metastyle_hub base or style and is not overwritten; choose another folder, or move it "
            "away."
        )


def _json(file: Path) -> Any:
    """What a JSON file says; None where it says nothing that could be read."""
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None


def _not_written(folder: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"{folder} cannot be written: {error.strerror or error}; choose another folder, or make room there."
    )
