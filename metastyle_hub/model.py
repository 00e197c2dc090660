"""MetaStyle: what a user holds. A base, or a style adapted from one; adapts, stylises, mixes, saves.

    base  = MetaStyle.from_pretrained()
    style = base.adapt("starry_night.jpg", steps=100)
    style.stylize("photo.jpg").save("out.png")

Objects never change: adapting gives a new style, and the base stays what it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig, adapt_parameters
from metastyle_hub.artifacts import (
    Artifact,
    ArtifactConfig,
    ArtifactError,
    BaseReference,
    fingerprint,
    read_artifact,
    write_artifact,
)
from metastyle_hub.contents import Contents, content_pool
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.features import load_features
from metastyle_hub.images import (
    ImageLike,
    image_sha256,
    keep_colors,
    load_image,
    resize_short_side,
    to_pil,
    to_tensor,
    with_alpha,
)
from metastyle_hub.interpolation import InterpolationError, check_weights, combine
from metastyle_hub.loss import PerceptualLoss
from metastyle_hub.network import (
    ImageTransformationNetwork,
    NetworkConfig,
    Parameters,
    norm_parameters,
)
from metastyle_hub.stylization import stylize_tensor

__all__ = ["MetaStyle", "StyleStep", "interpolate"]

_EMBEDDED = Path(__file__).parent / "pretrained" / "base"


@dataclass(frozen=True)
class StyleStep:
    """One step of an adaptation: the losses, and a usable style as it stands."""

    index: int  # gradient steps taken so far; 0 is the base
    loss: float  # total, on the contents of this step
    content: float
    style: float
    style_model: MetaStyle


class MetaStyle:
    """A base, or a style adapted from a base. Immutable.

    Attributes:
        config: what it is and where it came from (`ArtifactConfig`).
        parameters: the whole network's parameters by name.
        base: the base of a style; a base is its own.
        device: where the parameters are.
    """

    def __init__(self, config: ArtifactConfig, parameters: Mapping[str, Tensor], base: MetaStyle | None = None) -> None:
        self.config = config
        self.parameters: Parameters = dict(parameters)
        self.base: MetaStyle = base or self
        self.device = next(iter(self.parameters.values())).device
        self._network: ImageTransformationNetwork = _skeleton(config.architecture)

    # ---- loading and saving

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str] | None = None, *, device: str | torch.device | None = "cpu"
    ) -> MetaStyle:
        """Load a base or a style.

        Args:
            source: a folder made by `save_pretrained`; None for the base that ships with the package.
            device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the fastest that there is.

        Raises:
            ArtifactError: there is nothing there, it is damaged, newer than this library, or belongs to another base.
            DeviceError: no such device.

        >>> MetaStyle.from_pretrained("starry").stylize("photo.jpg").save("out.png")
        """
        where = resolve_device(device)
        if source is None:
            return _embedded_base().to(where)
        artifact = read_artifact(source)
        if artifact.config.kind == "base":
            return cls(artifact.config, artifact.parameters).to(where)
        return cls._from_artifact(artifact, _find_base(artifact.config, str(source)), str(source)).to(where)

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Tensor], architecture: NetworkConfig | None = None, **config: Any
    ) -> MetaStyle:
        """A base from a parameter dictionary, such as meta-training makes.

        >>> MetaStyle.from_parameters(trainer.average).save_pretrained("runs/base")
        """
        made = ArtifactConfig(kind="base", architecture=architecture or NetworkConfig(), **config)
        return cls(made, {name: p.detach().clone() for name, p in parameters.items()})

    @classmethod
    def _from_artifact(cls, artifact: Artifact, base: MetaStyle, where: str) -> MetaStyle:
        reference = artifact.config.base_model
        assert reference is not None
        if base.fingerprint != reference.fingerprint:
            raise ArtifactError(
                f"{where} was adapted from base {reference.fingerprint[:12]} ({reference.repo_id}), not from "
                f"{base.fingerprint[:12]}; load it together with its own base."
            )
        parameters = {**base.parameters, **{k: v.to(base.device) for k, v in artifact.parameters.items()}}
        return cls(artifact.config, parameters, base)

    def save_pretrained(self, folder: str | os.PathLike[str], *, extra: Mapping[str, bytes] | None = None) -> Path:
        """Write `config.json` and `model.safetensors` into a folder, each whole or not at all.

        Raises:
            ArtifactError: the folder cannot be written.

        >>> style.save_pretrained("starry")
        """
        kept = self.parameters
        if not self.is_base and self.config.parameters == "norm":
            kept = norm_parameters(kept)
        return write_artifact(folder, self.config, kept, extra)

    # ---- what it is

    @property
    def is_base(self) -> bool:
        """Whether this is a base rather than a style."""
        return self.config.kind == "base"

    @property
    def name(self) -> str:
        """A name for people."""
        return self.config.name or ("base" if self.is_base else "style")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters."""
        if not hasattr(self, "_fingerprint"):
            self._fingerprint = fingerprint(self.parameters)
        return self._fingerprint

    def to(self, device: str | torch.device | None) -> MetaStyle:
        """The same on another device, together with its base."""
        where = resolve_device(device)
        if where == self.device:
            return self
        base = None if self.base is self else self.base.to(where)
        return MetaStyle(self.config, {k: p.to(where) for k, p in self.parameters.items()}, base)

    def __repr__(self) -> str:
        what = (
            self.config.kind
            if self.is_base
            else f"style of {self.config.parameters} parameters, {self.config.steps} steps"
        )
        return f"MetaStyle({self.name!r}, {what}, on {self.device})"

    # ---- adapting

    def adapt(
        self, style: ImageLike, *, contents: Contents = None, config: AdaptationConfig | None = None, **settings: Any
    ) -> MetaStyle:
        """Learn a style; the result is a new MetaStyle. See `adapt_iter` for the arguments.

        >>> style = MetaStyle.from_pretrained().adapt("starry_night.jpg", steps=100)
        """
        *_, last = self.adapt_iter(style, contents=contents, config=config, **settings)
        return last.style_model

    def adapt_iter(
        self, style: ImageLike, *, contents: Contents = None, config: AdaptationConfig | None = None, **settings: Any
    ) -> Iterator[StyleStep]:
        """Learn a style step by step: `steps + 1` yields, the first being the base itself. Stop whenever you like.

        Args:
            style: the picture whose style it shall be.
            contents: your photos (they share the lessons with the built-in pictures), or a folder of many.
            config: all settings at once, or
            **settings: single fields of `AdaptationConfig`: steps, parameters, size, style_size, seed ...

        Raises:
            ImageError: a picture that cannot be used.
            ValueError: a setting out of range.
            AdaptationError: the loss is not finite.

        >>> for step in base.adapt_iter("wave.jpg", steps=200):
        ...     print(step.index, step.loss)
        """
        made = replace(config or AdaptationConfig(), **settings)
        picture = to_tensor(load_image(style))
        digest = image_sha256(style if isinstance(style, str | os.PathLike) else load_image(style))
        name = Path(style).stem if isinstance(style, str | os.PathLike) else None
        return self._adapt(_style_tensor(picture, made.style_size), content_pool(contents), made, digest, name)

    def _adapt(
        self, style: Tensor, contents: Any, config: AdaptationConfig, digest: str, name: str | None
    ) -> Iterator[StyleStep]:
        dtype = training_dtype(self.device) if config.precision == "auto" else getattr(torch, config.precision)
        features = load_features(config.features, device=self.device, dtype=dtype)
        loss = PerceptualLoss(features, config.weights)
        # a style of a style is again a style of the base; its earlier steps moved all parameters if either did
        kind = "all" if "all" in (config.parameters, *(() if self.is_base else (self.config.parameters,))) else "norm"
        described = ArtifactConfig(
            kind="style",
            architecture=self.config.architecture,
            name=name,
            parameters=kind,
            base_model=self._reference(),
            adaptation=config.to_dict(),
            style_sha256=digest,
            features=config.features,
        )
        before = 0 if self.is_base else (self.config.steps or 0)
        for step in adapt_parameters(self._network, self.parameters, style, contents, loss, config):
            model = MetaStyle(replace(described, steps=before + step.index), step.parameters, self.base)
            yield StyleStep(step.index, step.loss, step.content, step.style, model)

    def _reference(self) -> BaseReference:
        if not self.is_base and self.config.base_model is not None:
            return self.config.base_model
        return BaseReference(self.base.fingerprint)

    # ---- stylising

    @overload
    def stylize(
        self, photo: Tensor, *, strength: float = ..., size: int | None = ..., keep_photo_colors: bool = ...
    ) -> Tensor: ...
    @overload
    def stylize(
        self,
        photo: Image.Image | str | os.PathLike[str],
        *,
        strength: float = ...,
        size: int | None = ...,
        keep_photo_colors: bool = ...,
    ) -> Image.Image: ...
    @overload
    def stylize(
        self,
        photo: list[Any],
        *,
        strength: float = ...,
        size: int | None = ...,
        keep_photo_colors: bool = ...,
    ) -> list[Any]: ...

    def stylize(
        self, photo: Any, *, strength: float = 1.0, size: int | None = None, keep_photo_colors: bool = False
    ) -> Any:
        """The photo in this style, upright and of the photo's size.

        Args:
            photo: a PIL image, a path or an array gives a PIL image (alpha is kept); a list gives a list;
                a float tensor (3, H, W) or (B, 3, H, W) in [0, 1] gives such a tensor.
            strength: 1 is the style, 0 the base, which returns the photo nearly as it is.
            size: pixels of the result's short side; None keeps the photo's. Smaller gives broader strokes.
            keep_photo_colors: take only the lightness from the style, the colours from the photo.

        Raises:
            ImageError: a picture that cannot be used.
            ValueError: strength outside [0, 1], or a size below 1.

        >>> style.stylize("photo.jpg", strength=0.6).save("out.png")
        """
        if isinstance(photo, list | tuple):
            return [self.stylize(p, strength=strength, size=size, keep_photo_colors=keep_photo_colors) for p in photo]
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}.")
        if isinstance(photo, Tensor):
            images = to_tensor(photo)
            result = self._stylize(images, strength, size, keep_photo_colors)
            return result[0] if photo.ndim == 3 else result
        image = load_image(photo)
        picture = to_pil(self._stylize(to_tensor(image), strength, size, keep_photo_colors))
        return with_alpha(picture, image) if image.mode == "RGBA" else picture

    def _stylize(self, images: Tensor, strength: float, size: int | None, keep_photo_colors: bool) -> Tensor:
        images = resize_short_side(images, size) if size else images
        result = stylize_tensor(self._network, self._at(strength), images.to(self.device)).to(images.device)
        return keep_colors(result, images) if keep_photo_colors else result

    def _at(self, strength: float) -> Parameters:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, got {strength}.")
        if strength == 1:
            return self.parameters
        return combine([self.parameters, self.base.parameters], [strength, 1 - strength])


def interpolate(styles: Sequence[MetaStyle], weights: Sequence[float]) -> MetaStyle:
    """A style between styles: the convex combination of their parameters.

    Args:
        styles: all adapted from one base; the base itself counts as a style of no style.
        weights: one for each, >= 0, summing to 1. Weights (1, 0) give the first style bit for bit.

    Raises:
        InterpolationError: other weights, or styles of different bases.

    >>> mix = interpolate([starry, wave], [0.3, 0.7])
    """
    values = check_weights(weights, len(styles))
    first = styles[0]
    for other in styles[1:]:
        if other.base.fingerprint != first.base.fingerprint:
            raise InterpolationError(
                f"{first.name} and {other.name} were adapted from different bases ({first.base.fingerprint[:12]}, "
                f"{other.base.fingerprint[:12]}); only styles of one base can be mixed."
            )
    parameters = combine([style.to(first.device).parameters for style in styles], values)
    adapted = [s for s in styles if not s.is_base]
    described = ArtifactConfig(
        kind="style",
        architecture=first.config.architecture,
        name=" + ".join(f"{w:.0%} {s.name}" for s, w in zip(styles, values, strict=True) if w > 0),
        parameters="norm" if all(s.config.parameters == "norm" for s in adapted) else "all",
        base_model=first._reference(),
        mix=[{"name": s.name, "weight": w} for s, w in zip(styles, values, strict=True)],
    )
    return MetaStyle(described, parameters, first.base)


@lru_cache(maxsize=4)
def _skeleton(architecture: NetworkConfig) -> ImageTransformationNetwork:
    """The network as a function: it holds no numbers, those come as a parameter dictionary."""
    with torch.device("meta"):
        return ImageTransformationNetwork(architecture).eval()


@lru_cache(maxsize=1)
def _embedded_base() -> MetaStyle:
    artifact = read_artifact(_EMBEDDED, "the package's own base")
    return MetaStyle(artifact.config, artifact.parameters)


def _find_base(config: ArtifactConfig, where: str) -> MetaStyle:
    """The base that a style names: the embedded one if the fingerprint matches, else the folder named."""
    reference = config.base_model
    assert reference is not None
    embedded = _embedded_base()
    if embedded.fingerprint == reference.fingerprint or reference.repo_id == "embedded":
        return embedded
    if Path(reference.repo_id).is_dir():
        return MetaStyle.from_pretrained(reference.repo_id)
    raise ArtifactError(f"{where} needs the base {reference.repo_id}, which is not here; download it first.")


def _style_tensor(picture: Tensor, size: int) -> Tensor:
    """The style picture at its working size; small or narrow ones are enlarged, so that every tap has features."""
    height, width = picture.shape[-2:]
    # a picture as narrow as a ribbon would grow without bound; its middle tells the style as well
    if max(height, width) > 4 * min(height, width):
        side = 4 * min(height, width)
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        picture = picture[..., top : top + side, left : left + side]
    return resize_short_side(picture, size)
