"""A base or style as `config.json` and `model.safetensors`: strict to read, never pickle.

A base stores the parameters of the whole network, and under "predictor." those of its style predictor, if it has one.
A style stores one group: "norm" (13 kB), "decoder" (0.4 MB) or "all" (7 MB); the others are those of its base.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig
from metastyle_hub.artifacts.storage import file_names, locked, read_file
from metastyle_hub.config import expanded
from metastyle_hub.errors import ArtifactError
from metastyle_hub.networks.feature_extractor import SPECS
from metastyle_hub.networks.param_groups import Parameters, trainable_parameters
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES, StylePredictor
from metastyle_hub.networks.transformer_net import meta_network

__all__ = [
    "Artifact", "artifact_files", "checked_artifact", "expected_tensors", "fingerprint", "missing_files_error",
    "read_artifact",
]  # fmt: skip

_PREDICTOR = "predictor."  # prefix of the predictor's tensors
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_READS = 5  # of a set of files that others may be writing
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

    Raises:
        ArtifactError: if they are missing, damaged, or of two different saves.
    """
    folder, where = expanded(folder), where or str(folder)
    if not folder.is_dir():
        raise ArtifactError(f"There is no folder {where}; check the path.")
    try:
        for attempt in range(1 if config else _READS):
            # without a lock first: another user's folder may not be locked, and few folders are written at the moment
            with locked(folder, shared=True) if attempt else contextlib.nullcontext(False) as alone:
                found, weights = _read_files(folder, where, config)
            is_one_set = found.weights_sha256 in (None, hashlib.sha256(weights).hexdigest())
            if is_one_set or alone:
                break
            time.sleep(0.01 * attempt)
        tensors = load(weights)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where} cannot be read: {error}; check its rights, or save it again.") from error
    except (SafetensorError, KeyError) as error:
        raise ArtifactError(
            f"{WEIGHTS_FILE} in {where} is damaged ({error}); save it again, or load it with force_download=True."
        ) from error
    # in memory a hash of a file has no meaning: `artifact_files` gives the next file its own
    found = replace(found, weights_sha256=None)
    artifact = checked_artifact(found, tensors, f"{WEIGHTS_FILE} in {where}", "save it again")
    if not is_one_set:
        raise ArtifactError(
            f"{WEIGHTS_FILE} in {where} is damaged or of another save: its SHA-256 is not that in {CONFIG_FILE}; save "
            "it again, or load it with force_download=True."
        )
    return artifact


def _read_files(folder: Path, where: str, config: ArtifactConfig | None) -> tuple[ArtifactConfig, bytes]:
    if not {CONFIG_FILE, WEIGHTS_FILE} <= (names := file_names(folder)):
        raise missing_files_error(where, names)
    if config is None:
        config = ArtifactConfig.from_json(read_file(folder, CONFIG_FILE).decode(), where)
    return config, read_file(folder, WEIGHTS_FILE)


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
    """Return the files of an artifact by name; `config.json`, with the hash of the weights, comes last."""
    tensors = {**artifact.parameters, **{_PREDICTOR + name: p for name, p in (artifact.predictor or {}).items()}}
    values = {name: p.detach().to("cpu", torch.float32).contiguous() for name, p in tensors.items()}
    weights = save(values, metadata={"format": "pt"})
    config = replace(artifact.config, weights_sha256=hashlib.sha256(weights).hexdigest())
    return {WEIGHTS_FILE: weights, **(extra or {}), CONFIG_FILE: config.to_json().encode()}
