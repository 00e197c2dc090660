"""A folder with `config.json` and `model.safetensors`: strict to read, atomic to write, never pickle.

A base stores the parameters of the whole network, and under "predictor." those of its style predictor, if it has one.
A style stores one group: "norm" (13 kB), "decoder" (0.4 MB) or "all" (7 MB); the others are those of its base.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig, is_artifact_config
from metastyle_hub.errors import ArtifactError
from metastyle_hub.networks.feature_extractor import SPECS
from metastyle_hub.networks.param_groups import Parameters, trainable_parameters
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES, StylePredictor
from metastyle_hub.networks.transformer_net import meta_network

__all__ = [
    "Artifact", "artifact_files", "check_folder", "checked_artifact", "expected_tensors", "fingerprint",
    "missing_files_error", "read_artifact", "write_files",
]  # fmt: skip

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

    >>> len(fingerprint({"to_rgb.bias": torch.zeros(3)}))
    64
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
    """
    folder, where = Path(folder), where or str(folder)
    if not folder.is_dir():
        raise ArtifactError(f"There is no folder {where}; check the path.")
    try:
        names = [path.name for path in folder.iterdir()]
        if not {CONFIG_FILE, WEIGHTS_FILE} <= set(names):
            raise missing_files_error(where, names)
        if config is None:
            config = ArtifactConfig.from_json((folder / CONFIG_FILE).read_text(encoding="utf-8"), where)
        tensors = load((folder / WEIGHTS_FILE).read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where} cannot be read: {error}; check its rights, or save it again.") from error
    except (SafetensorError, KeyError) as error:
        raise ArtifactError(
            f"{WEIGHTS_FILE} in {where} is damaged ({error}); save it again, or load it with force_download=True."
        ) from error
    return checked_artifact(config, tensors, f"{WEIGHTS_FILE} in {where}", "save it again")


def missing_files_error(where: str, names: Collection[str]) -> ArtifactError:
    """Return the error for a folder or repo with these files, which lacks those of an artifact."""
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in names]
    pickles = sorted(name for name in names if Path(name).suffix in _PICKLES)
    hint = f"; {pickles[0]} is not read, since pickled files can run code" if pickles else ""
    return ArtifactError(f"{where} is no metastyle_hub base or style: it lacks {' and '.join(missing)}{hint}.")


def checked_artifact(config: ArtifactConfig, tensors: Mapping[str, Tensor], what: str, remedy: str) -> Artifact:
    """Return the artifact, in float32, if the tensors are those that the config calls for, no other, all finite.

    The names of a predictor's tensors start with "predictor."; `what` and `remedy` are for messages.

    Raises:
        ArtifactError: for missing or additional tensors, wrong shapes, or values that are not finite.
    """
    expected = expected_tensors(config)
    if not any(name.startswith(_PREDICTOR) for name in tensors):
        expected = {name: p for name, p in expected.items() if not name.startswith(_PREDICTOR)}
    elif config.kind == "base" and config.feature_extractor not in SPECS:
        known = ", ".join(SPECS)
        raise ArtifactError(
            f"The predictor in {what} needs {config.feature_extractor!r}; known extractors are {known}."
        )
    for name in sorted(expected.keys() | tensors.keys()):
        found, right = (f"of shape {tuple(t[name].shape)}" if name in t else "absent" for t in (tensors, expected))
        if found != right:
            raise ArtifactError(f"{name} in {what} is {found}, but should be {right}; {remedy}.")
        # checked as it is returned: a float64 may be finite and yet too large
        if tensors[name].dtype not in _DTYPES or not bool(torch.isfinite(tensors[name].float()).all()):
            raise ArtifactError(f"{name} in {what} holds values that are not finite in float32; {remedy}.")
    values = {name: tensors[name].float() for name in expected}
    predictor = {n.removeprefix(_PREDICTOR): values.pop(n) for n in list(values) if n.startswith(_PREDICTOR)}
    return Artifact(config, values, predictor or None)


def expected_tensors(config: ArtifactConfig) -> Parameters:
    """Return the largest set of tensors that a file with this config may hold, on the meta device."""
    parameters: Parameters = dict(meta_network(config.architecture).named_parameters())
    if config.kind == "style":
        return trainable_parameters(parameters, config.trainable)
    if config.feature_extractor not in SPECS:
        return parameters
    channels = SPECS[config.feature_extractor].gram_channels
    with torch.device("meta"):
        predictor = StylePredictor(channels, MAX_STYLE_SCALES, parameters).state_dict()
    return parameters | {_PREDICTOR + name: p for name, p in predictor.items()}


def artifact_files(artifact: Artifact, extra: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return the files of an artifact by name; `config.json`, which makes it one, comes last."""
    tensors = {**artifact.parameters, **{_PREDICTOR + name: p for name, p in (artifact.predictor or {}).items()}}
    values = {name: p.detach().to("cpu", torch.float32).contiguous() for name, p in tensors.items()}
    weights = save(values, metadata={"format": "pt"})
    return {WEIGHTS_FILE: weights, **(extra or {}), CONFIG_FILE: artifact.config.to_json().encode()}


def write_files(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write files to a folder, each whole or not at all, in their order; it must pass `check_folder`."""
    folder = Path(folder)
    check_folder(folder, files)
    with _writing(folder), tempfile.TemporaryDirectory(".tmp", ".", folder, ignore_cleanup_errors=True) as temporary:
        for name, data in files.items():
            (Path(temporary) / name).write_bytes(data)
        for name in files:
            (Path(temporary) / name).replace(folder / name)
    return folder


def check_folder(folder: str | os.PathLike[str], names: Collection[str] = (WEIGHTS_FILE, CONFIG_FILE)) -> None:
    """Create a folder, and refuse it if it cannot hold files of these names.

    Raises:
        ArtifactError: if it cannot be written, a name has folders in it or is a folder there, or the `config.json` of
            another library would be overwritten.
    """
    folder = Path(folder)
    config = folder / CONFIG_FILE
    for name in names:
        if name in ("", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ArtifactError(f"{name!r} is no file name to write to {folder}; give a name without folders.")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # only creating a file tells whether one can be created
            pass
        for name in names:
            if (folder / name).is_dir():
                raise ArtifactError(f"{folder / name} is a folder where a file should go; choose another folder.")
        ours = CONFIG_FILE not in names or not config.is_file()
        with contextlib.suppress(ValueError, RecursionError):
            ours = ours or is_artifact_config(json.loads(config.read_bytes()))
    if not ours:
        raise ArtifactError(f"{config} belongs to another library and is not overwritten; choose another folder.")


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ArtifactError(f"{folder} cannot be written: {reason}; choose another folder, or free space.") from error
