"""`config.json`: what an artefact is, where it came from, and what of such a file is believed."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from metastyle_hub.errors import ArtifactError, first_line
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.networks.param_groups import TRAINABLE
from metastyle_hub.version import __version__

__all__ = [
    "CONFIG_FILE",
    "FORMAT_VERSION",
    "WEIGHTS_FILE",
    "ArtifactConfig",
    "BaseReference",
    "is_ours",
]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"

_MOST_WIDTH, _MOST_BLOCKS = 128, 32  # of a network from a file: 600 MB, far beyond any use, and no harm to load


@dataclass(frozen=True)
class BaseReference:
    """Which base a style belongs to."""

    fingerprint: str  # of the base's parameters; what decides
    repo_id: str = "embedded"  # where it is found: "embedded" in the package, a Hub repo, a folder, or "unshared"
    revision: str | None = None  # the commit of that repo; only a Hub repo has one


@dataclass(frozen=True)
class ArtifactConfig:
    """`config.json`. Unknown keys warn, a newer `format_version` refuses."""

    kind: str  # "base" or "style"
    architecture: NetworkConfig = field(default_factory=NetworkConfig)
    format_version: int = FORMAT_VERSION
    library_version: str = __version__
    name: str | None = None  # for people
    trainable: str = "all"  # what a style owns: "norm", "decoder" or "all"
    base_model: BaseReference | None = None  # of a style
    steps: int | None = None  # gradient steps that a style has had
    adaptation: dict[str, Any] | None = None  # the AdaptationConfig behind a style
    style_sha256: str | None = None  # of the style picture
    mix: list[dict[str, Any]] | None = None  # of an interpolated style: [{"name", "weight"}]
    feature_extractor: str = "compact"  # whose loss the parameters were trained with, and whose Gram matrices a predictor reads
    training: dict[str, Any] | None = None  # of a base: the run that made it, and its figures
    output_activation: str | None = None  # "clamp" for converted networks, which end without a sigmoid

    def without_local_paths(self) -> ArtifactConfig:
        """Return the config as it may leave this machine; warn if others cannot load the style."""
        reference = self.base_model
        if reference is None or reference.revision is not None or reference.repo_id == "embedded":
            return self
        log.warning(
            "The base of %s is not on the Hub, so only those who have that base can load the style; push the base "
            "first, and adapt the style from there.",
            self.name or "this style",
        )
        return replace(self, base_model=replace(reference, repo_id="unshared"))

    def to_json(self) -> str:
        """The file's text: fields that say nothing are left out."""
        values = {k: v for k, v in asdict(self).items() if v is not None}
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> ArtifactConfig:
        """Parse and check.

        Raises:
            ArtifactError: not JSON, not ours, newer than this library, or with values that make no sense.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{CONFIG_FILE} in {where} is not JSON ({error}); it may be damaged.") from error
        if not is_ours(values):
            raise ArtifactError(f'{where} is no metastyle_hub base or style: {CONFIG_FILE} lacks "kind".')
        version = values.get("format_version")
        if not isinstance(version, int) or version < 1:
            raise ArtifactError(f"{CONFIG_FILE} in {where} has format_version {version!r}; expected {FORMAT_VERSION}.")
        if version > FORMAT_VERSION:
            raise ArtifactError(
                f"{where} has format {version}, this metastyle_hub {__version__} reads up to {FORMAT_VERSION}; "
                "update with pip install -U metastyle-hub."
            )
        known = {f.name for f in fields(cls)}
        for key in sorted(values.keys() - known):
            log.warning("%s: ignoring the unknown key %r of %s.", where, key, CONFIG_FILE)
        values = {k: v for k, v in values.items() if k in known}
        try:
            if "architecture" in values:
                values["architecture"] = NetworkConfig.from_dict(values["architecture"])
            if values.get("base_model") is not None:
                reference = values["base_model"]
                values["base_model"] = BaseReference(
                    **{f.name: reference[f.name] for f in fields(BaseReference) if f.name in reference}
                )
            config = cls(**values)
            _check_types(config)
            _check_types(config.base_model)
        except (TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"{CONFIG_FILE} in {where} has a value that makes no sense: {first_line(error)}."
            ) from error
        size = config.architecture
        if size.width > _MOST_WIDTH or size.residual_blocks > _MOST_BLOCKS:
            raise ArtifactError(
                f"{CONFIG_FILE} in {where} asks for width {size.width} and {size.residual_blocks} residual_blocks; "
                f"more than {_MOST_WIDTH} and {_MOST_BLOCKS} are not loaded."
            )
        if config.trainable not in TRAINABLE:
            raise ArtifactError(
                f"{CONFIG_FILE} in {where}: trainable must be one of {', '.join(TRAINABLE)}, got {config.trainable!r}."
            )
        if config.output_activation not in (None, "clamp"):
            raise ArtifactError(f"{CONFIG_FILE} in {where}: output_activation must be clamp or left out, got {config.output_activation!r}.")
        if config.kind == "style" and config.base_model is None:
            raise ArtifactError(f"{CONFIG_FILE} in {where} names no base_model, so the style cannot be placed on one.")
        return config


def is_ours(config: Any) -> bool:
    return isinstance(config, dict) and config.get("kind") in ("base", "style")


def _check_types(values: ArtifactConfig | BaseReference | None) -> None:
    """A file from somewhere may hold anything; what is read from it shall not surprise later."""
    for name, hint in (get_type_hints(type(values)) if values is not None else {}).items():
        kinds = [get_origin(kind) or kind for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,))]
        if not isinstance(getattr(values, name), tuple(kinds)):
            raise TypeError(f"{name} must be {hint}, not {getattr(values, name)!r}")
