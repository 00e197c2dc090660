"""A folder with `config.json` and `model.safetensors`: strict to read, atomic to write, never pickle.

kind "base"    the parameters of the whole network, and under "predictor." those of the style predictor, if any
kind "style"   the parameters of one group: "norm" (13 kB), "decoder" (0.4 MB) or "all" (7 MB); the others are those
               of the base with the fingerprint that config.json names
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

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig, is_artifact_config
from metastyle_hub.errors import ArtifactError
from metastyle_hub.losses import MAX_STYLE_SCALES
from metastyle_hub.networks.feature_extractor import SPECS
from metastyle_hub.networks.param_groups import Parameters, trainable_parameters
from metastyle_hub.networks.style_predictor import StylePredictor
from metastyle_hub.networks.transformer_net import NetworkConfig, meta_network

__all__ = [
    "Artifact",
    "artifact_files",
    "check_folder",
    "checked_parameters",
    "checked_predictor",
    "expected_tensors",
    "fingerprint",
    "missing_files_error",
    "read_artifact",
    "write_files",
]

_PREDICTOR = "predictor."  # prefix of the predictor's tensors
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")


@dataclass(frozen=True, eq=False)
class Artifact:
    """A base or style: its config, and exactly the tensors that the config calls for."""

    config: ArtifactConfig
    parameters: Parameters
    predictor: Parameters | None = None  # of a base that has one
    origin: Any = None  # the `Snapshot` it was read from

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters."""
        return fingerprint(self.parameters)


def fingerprint(parameters: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, shapes and float32 values: equal if and only if the parameters are.

    >>> fingerprint(MetaStyle.from_pretrained().state_dict())[:12]
    '9a6c4b3d781b'
    """
    digest = hashlib.sha256()
    for name in sorted(parameters):
        values = parameters[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def read_artifact(
    folder: str | os.PathLike[str], where: str | None = None, config: ArtifactConfig | None = None
) -> Artifact:
    """Read and check a folder: every tensor that the config calls for, no other, all values finite.

    Args:
        folder: with `config.json` and `model.safetensors`.
        where: the name of the folder in messages, default its path.
        config: the parsed `config.json`, if the caller has it.

    Raises:
        ArtifactError: if something is missing, damaged or wrong.
    """
    folder, where = Path(folder), where or str(folder)
    if not folder.is_dir():
        raise ArtifactError(f"There is no folder {where}; check the path.")
    names = [path.name for path in folder.iterdir()]
    if not {CONFIG_FILE, WEIGHTS_FILE} <= set(names):
        raise missing_files_error(where, names)
    try:
        if config is None:
            config = ArtifactConfig.from_json((folder / CONFIG_FILE).read_text(encoding="utf-8"), where)
        data = (folder / WEIGHTS_FILE).read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where} cannot be read: {error}.") from error
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{WEIGHTS_FILE} in {where} is damaged ({error}); save it again, or load it with force_download=True."
        ) from error
    what, remedy = f"{WEIGHTS_FILE} in {where}", "save it again"
    predictor = {name.removeprefix(_PREDICTOR): p for name, p in tensors.items() if name.startswith(_PREDICTOR)}
    if config.kind != "base" or not predictor:
        return Artifact(config, checked_parameters(tensors, config, what, remedy))
    others = {name: p for name, p in tensors.items() if not name.startswith(_PREDICTOR)}
    checked = checked_predictor(predictor, config, f"the predictor in {what}", remedy)
    return Artifact(config, checked_parameters(others, config, what, remedy), checked)


def missing_files_error(where: str, names: Collection[str]) -> ArtifactError:
    """Return the error for a folder or repo with these files, which lacks those of an artifact."""
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in names]
    pickles = sorted(name for name in names if Path(name).suffix in _PICKLES)
    hint = f"; {pickles[0]} is not read, since pickled files can run code" if pickles else ""
    return ArtifactError(f"{where} is no metastyle_hub base or style: it lacks {' and '.join(missing)}{hint}.")


def checked_parameters(tensors: Mapping[str, Tensor], config: ArtifactConfig, what: str, remedy: str) -> Parameters:
    """Return the tensors in float32 if they are those that the config calls for, no other, all finite.

    Args:
        tensors: by name.
        config: of the artifact.
        what, remedy: the name of the tensors and the way out, for messages.

    Raises:
        ArtifactError: for missing or additional tensors, wrong shapes, or values that are not finite.
    """
    expected = _network_parameters(config.architecture)
    if config.kind == "style":
        expected = trainable_parameters(expected, config.trainable)
    return _checked(tensors, expected, what, remedy)


def checked_predictor(tensors: Mapping[str, Tensor], config: ArtifactConfig, what: str, remedy: str) -> Parameters:
    """Return the tensors of a base's predictor in float32, checked as in `checked_parameters`."""
    if not (expected := _predictor_parameters(config)):
        known = ", ".join(SPECS)
        raise ArtifactError(f"{what} was trained with {config.feature_extractor!r}; known extractors are {known}.")
    return _checked(tensors, expected, what, remedy)


def expected_tensors(config: ArtifactConfig) -> Parameters:
    """Return the largest set of tensors that a file with this config may hold, on the meta device."""
    predictor = {_PREDICTOR + name: p for name, p in _predictor_parameters(config).items()}
    return {**_network_parameters(config.architecture), **predictor}


def _network_parameters(architecture: NetworkConfig) -> Parameters:
    return dict(meta_network(architecture).named_parameters())


def _predictor_parameters(config: ArtifactConfig) -> Parameters:
    if config.kind != "base" or config.feature_extractor not in SPECS:
        return {}
    channels, parameters = SPECS[config.feature_extractor].gram_channels, _network_parameters(config.architecture)
    with torch.device("meta"):
        return StylePredictor(channels, MAX_STYLE_SCALES, parameters).state_dict()


def _checked(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str, remedy: str) -> Parameters:
    if missing := sorted(expected.keys() - tensors.keys()):
        raise ArtifactError(f"{what} lacks {len(missing)} tensors, such as {missing[0]}; {remedy}.")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise ArtifactError(f"{what} has {len(extra)} additional tensors, such as {extra[0]}; {remedy}.")
    for name, value in tensors.items():
        shape, right = tuple(value.shape), tuple(expected[name].shape)
        if shape != right:
            raise ArtifactError(f"{name} in {what} has shape {shape}, expected {right}; {remedy}.")
        # checked as it is returned: a float64 may be finite and yet too large
        if value.dtype not in _DTYPES or not bool(torch.isfinite(value.float()).all()):
            raise ArtifactError(f"{name} in {what} holds values that are not finite in float32; {remedy}.")
    return {name: tensors[name].float() for name in expected}


def artifact_files(artifact: Artifact, extra: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return the files of an artifact by name; `config.json`, which makes it one, comes last."""
    tensors = {**artifact.parameters, **{_PREDICTOR + name: p for name, p in (artifact.predictor or {}).items()}}
    values = {name: p.detach().to("cpu", torch.float32).contiguous() for name, p in tensors.items()}
    weights = save_tensors(values, metadata={"format": "pt"})
    return {WEIGHTS_FILE: weights, **(extra or {}), CONFIG_FILE: artifact.config.to_json().encode()}


def write_files(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write files to a folder, each whole or not at all, in their order.

    Raises:
        ArtifactError: if the folder cannot be written, or cannot hold these files; see `check_folder`.
    """
    folder = Path(folder)
    temporary: dict[Path, Path] = {}
    check_folder(folder, files)
    try:
        for name, data in files.items():
            temporary[folder / name] = folder / f".{secrets.token_hex(8)}.tmp"
            temporary[folder / name].write_bytes(data)
        for target, file in temporary.items():
            file.replace(target)
    except OSError as error:
        raise _not_writable(folder, error) from error
    finally:
        for file in temporary.values():
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
    return folder


def check_folder(folder: str | os.PathLike[str], names: Collection[str] = (WEIGHTS_FILE, CONFIG_FILE)) -> None:
    """Create a folder, and refuse it if it cannot hold files of these names.

    Raises:
        ArtifactError: if it cannot be written, a name has folders in it or is a folder there, or the `config.json` of
            another library would be overwritten.

    >>> check_folder("starry")
    """
    folder = Path(folder)
    for name in names:
        if name in ("", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ArtifactError(f"{name!r} is no file name to write to {folder}; give a name without folders.")
    config = folder / CONFIG_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # only creating a file tells whether one can be created
            pass
        occupied = next((name for name in names if (folder / name).is_dir()), None)
        foreign = CONFIG_FILE in names and config.is_file() and not is_artifact_config(_parsed(config))
    except OSError as error:
        raise _not_writable(folder, error) from error
    if occupied is not None:
        raise ArtifactError(f"{folder / occupied} is a folder where a file should go; choose another folder.")
    if foreign:
        raise ArtifactError(f"{config} belongs to another library and is not overwritten; choose another folder.")


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None


def _not_writable(folder: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"{folder} cannot be written: {error.strerror or error}; choose another folder, or free some space."
    )
