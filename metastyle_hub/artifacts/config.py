"""`config.json`: what an artifact is and where it came from. Everything in it is checked before it is used."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from metastyle_hub.config import Config, option
from metastyle_hub.errors import ArtifactError, SettingError, first_line
from metastyle_hub.networks.param_groups import TRAINABLE
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.version import __version__

__all__ = ["CONFIG_FILE", "FORMAT_VERSION", "WEIGHTS_FILE", "ArtifactConfig", "BaseReference", "is_artifact_config"]

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_MAX_WIDTH, _MAX_BLOCKS = 128, 32  # of a network from a file: 600 MB, far above any use and harmless to load


@dataclass(frozen=True)
class BaseReference(Config):
    """The base that a style belongs to."""

    fingerprint: str  # of the base's parameters; decides whether a base fits
    repo_id: str = "embedded"  # "embedded" in the package, a Hub repo, a local folder, or "unshared"
    revision: str | None = None  # a commit; only a Hub repo has one


@dataclass(frozen=True)
class ArtifactConfig(Config):
    """The fields of `config.json`. Unknown keys warn, a newer `format_version` is refused."""

    kind: str = option("style", "base or style", choices=("base", "style"))
    architecture: NetworkConfig = field(default_factory=NetworkConfig)
    format_version: int = option(FORMAT_VERSION, "version of the format", low=1)
    library_version: str = __version__
    name: str | None = None  # for people
    trainable: str = option("all", "the parameter group that a style stores", choices=TRAINABLE)
    base_model: BaseReference | None = None  # of a style
    steps: int | None = None  # gradient steps of a style
    adaptation: dict[str, Any] | None = None  # the AdaptationConfig of a style
    style_sha256: str | None = None  # of the style image
    mix: list[dict[str, Any]] | None = None  # of an interpolated style: [{"name", "weight"}]
    feature_extractor: str = "compact"  # of the training loss; also the one that a predictor was trained with
    training: dict[str, Any] | None = None  # of a base: how it was trained, and its figures
    weights_sha256: str | None = None  # of model.safetensors; only in the file, see `serialization.artifact_files`
    output_activation: str | None = option(None, "clamp in converted networks, else a sigmoid", choices=(None, "clamp"))

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("name", "adaptation", "mix", "training"):
            object.__setattr__(self, key, _valid_text(getattr(self, key)))

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
        """Return the text of the file; fields that are None are left out."""
        return json.dumps({k: v for k, v in asdict(self).items() if v is not None}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> ArtifactConfig:
        """Parse and check the text of a file; `where` names its folder or repo in messages.

        Raises:
            ArtifactError: for text that is not JSON, not ours, newer than this library, or has wrong values.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{CONFIG_FILE} in {where} is not JSON ({error}); fetch or save it again.") from error
        if not is_artifact_config(values):
            raise ArtifactError(f'{where} is no metastyle_hub base or style: {CONFIG_FILE} lacks "kind".')
        if isinstance(version := values.setdefault("format_version", None), int) and version > FORMAT_VERSION:
            raise ArtifactError(
                f"{where} has format {version}, this metastyle_hub {__version__} reads up to {FORMAT_VERSION}; "
                "update with pip install -U metastyle-hub."
            )
        try:
            if values.get("base_model") is not None:
                values["base_model"] = BaseReference.from_dict(values["base_model"])
            elif values["kind"] == "style":
                raise SettingError("a style must name its base_model")
            config = cls.from_dict(values)
            width, blocks = config.architecture.width, config.architecture.residual_blocks
            if width > _MAX_WIDTH or blocks > _MAX_BLOCKS:
                raise SettingError(f"width {width}, residual_blocks {blocks} exceed {_MAX_WIDTH}, {_MAX_BLOCKS}")
        except (TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"{CONFIG_FILE} in {where} has a wrong value: {first_line(error)}.") from error
        return config


def _valid_text(value: Any) -> Any:
    """Replace halves of surrogate pairs, which UTF-8 has not, in all strings: names of files are not always UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_valid_text(key): _valid_text(item) for key, item in value.items()}
    return [_valid_text(item) for item in value] if isinstance(value, list | tuple) else value


def is_artifact_config(values: Any) -> bool:
    """Return whether parsed JSON is the config of a base or style."""
    return isinstance(values, dict) and values.get("kind") in ("base", "style")
