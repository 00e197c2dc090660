"""MetaStyle: what a user holds. A base, or a style adapted from one; adapts, stylises, mixes, saves.

    base  = MetaStyle.from_pretrained()
    style = base.adapt("starry_night.jpg", steps=100)
    style.stylize("photo.jpg").save("out.png")

Objects never change: adapting gives a new style, and the base stays what it was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from PIL import Image
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig, adapt_parameters
from metastyle_hub.artifacts import (
    Artifact,
    ArtifactConfig,
    ArtifactError,
    BaseReference,
    artifact_files,
    fingerprint,
    read_artifact,
    write_files,
)
from metastyle_hub.cards import (
    CARD_FILE,
    CARD_PIXELS,
    PREVIEW_FILE,
    STYLE_FILE,
    card_picture,
    make_card,
    merge_cards,
)
from metastyle_hub.contents import Contents, content_pool
from metastyle_hub.devices import DeviceError, resolve_device, training_dtype
from metastyle_hub.features import load_features
from metastyle_hub.hub import HubError, HubOptions, Snapshot, fetch, fetch_extra, push
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
from metastyle_hub.stylization import stylize_several, stylize_tensor

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

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
        origin: the folder, or the commit of a repo, that it was loaded from; None when it was made here.
    """

    def __init__(
        self,
        config: ArtifactConfig,
        parameters: Mapping[str, Tensor],
        base: MetaStyle | None = None,
        origin: Snapshot | None = None,
    ) -> None:
        self.config = config
        self.parameters: Parameters = dict(parameters)
        self.base: MetaStyle = base or self
        self.device = next(iter(self.parameters.values())).device
        self.origin = origin

    @property
    def _network(self) -> ImageTransformationNetwork:
        return _skeleton(self.config.architecture, self.config.output or "sigmoid")

    # ---- loading and saving

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        device: str | torch.device | None = "cpu",
        device_map: None = None,
    ) -> MetaStyle:
        """Load a base or a style; a style brings its base along. Parameters are float32 and never pickled.

        Args:
            source: a folder made by `save_pretrained`, or a Hub repo "user/name" or "user/name@revision"; None for
                the base that ships with the package.
            revision: branch, tag, commit or "refs/pr/1" of the repo. It is resolved once; all files are of one commit.
            token, cache_dir, local_files_only, force_download: as in huggingface_hub.
            device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the fastest that there is.

        Raises:
            ArtifactError: there is nothing there, it is damaged, newer than this library, or belongs to another base.
            HubError: the Hub or the way there failed.
            DeviceError: no such device.

        >>> MetaStyle.from_pretrained("me/starry-night@v1").stylize("photo.jpg").save("out.png")
        """
        if device_map is not None:
            raise DeviceError("A network of 7 MB has nothing to divide by a device_map; say device='auto' instead.")
        where = resolve_device(device)
        options = HubOptions(token, cache_dir, local_files_only, force_download)
        if source is None:
            return _embedded_base().to(where)
        snapshot = fetch(source, revision, options)
        artifact = read_artifact(snapshot.folder, str(snapshot))
        if artifact.config.kind == "base":
            return _remember(cls(artifact.config, artifact.parameters, origin=snapshot)).to(where)
        return cls._from_artifact(artifact, _find_base(artifact.config, snapshot, options), snapshot).to(where)

    def apply(
        self,
        style: MetaStyle | str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> MetaStyle:
        """A style on this very base: a style of norms shares the base's parameters and costs 13 kB.

        Args:
            style: a style, or where one is; see `from_pretrained`.

        Raises:
            ArtifactError, HubError: see `from_pretrained`; also for a style of another base.

        >>> wave, glass = base.apply("me/wave"), base.apply("me/stained-glass")
        """
        base = self.base
        if isinstance(style, MetaStyle):
            artifact, origin = Artifact(style.config, style._own_parameters()), style.origin
        else:
            origin = fetch(style, revision, HubOptions(token, cache_dir, local_files_only, force_download))
            artifact = read_artifact(origin.folder, str(origin))
        if artifact.config.kind == "base":
            if fingerprint(artifact.parameters) != base.fingerprint:
                raise ArtifactError(f"{origin or style} is a base, not a style; load it with from_pretrained.")
            return base
        return MetaStyle._from_artifact(artifact, base, origin)

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
    def _from_artifact(cls, artifact: Artifact, base: MetaStyle, origin: Snapshot | None) -> MetaStyle:
        reference = artifact.config.base_model
        assert reference is not None
        if base.fingerprint != reference.fingerprint:
            raise ArtifactError(
                f"{origin or artifact.config.name or 'The style'} was adapted from base {reference.fingerprint[:12]} "
                f"({reference.repo_id}), not from {base.fingerprint[:12]}; load it together with its own base."
            )
        if artifact.config.architecture != base.config.architecture:
            raise ArtifactError(f"{origin or 'The style'} has another architecture than its base; it is damaged.")
        parameters = {**base.parameters, **{k: v.to(base.device) for k, v in artifact.parameters.items()}}
        return cls(artifact.config, parameters, base, origin)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        style_image: ImageLike | None = None,
        preview: ImageLike | None = None,
        license: str | None = None,
        extra: Mapping[str, bytes] | None = None,
    ) -> Path:
        """Write `config.json`, `model.safetensors` and a card `README.md` into a folder, each whole or not at all.

        Args:
            style_image: the picture whose style this is, to go along as style.jpg. Only on request: it may not be
                yours to share; its SHA-256 is always recorded.
            preview: a photo; what this style makes of it goes along as preview.jpg.
            license: of the parameters, default apache-2.0 or what an existing card says.
            extra: further files by name.

        Raises:
            ArtifactError: the folder cannot be written.
            ImageError: a picture that cannot be used.

        >>> style.save_pretrained("starry", preview="photo.jpg")
        """
        files = self._files(self.config, style_image, preview, license, extra)
        existing = fetch_extra(Snapshot(Path(folder)), CARD_FILE)
        files[CARD_FILE] = merge_cards(existing, files[CARD_FILE], Path(folder).resolve().name, license)
        return write_files(folder, files)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        commit_description: str | None = None,
        token: str | bool | None = None,
        style_image: ImageLike | None = None,
        preview: ImageLike | None = None,
        license: str | None = None,
        extra: Mapping[str, bytes] | None = None,
    ) -> CommitInfo:
        """Share on the Hugging Face Hub: one commit, or none when the repo has it all already.

        A card that people wrote in keeps its text; its metadata is brought up to date.

        Args:
            repo_id: "user/name"; made if it does not exist.
            revision: a branch, made if it does not exist; default main.
            create_pr: propose the commit as a pull request to main instead.
            style_image, preview, license, extra: see `save_pretrained`.

        Returns:
            huggingface_hub's `CommitInfo`: the address of the commit, with `oid` and `pr_url`.

        Raises:
            HubError: the Hub or the way there failed.

        >>> style.push_to_hub("me/starry-night", commit_message="More steps")
        """
        reference = self.config.base_model
        config = self.config
        if reference is not None and reference.revision is None and reference.repo_id != "embedded":
            # the path of a folder says something about its owner and nothing to anybody else
            config = replace(config, base_model=replace(reference, repo_id="unshared"))
        files = self._files(config, style_image, preview, license, extra)
        if self.origin is not None and self.origin.repo_id is None:
            files[CARD_FILE] = merge_cards(fetch_extra(self.origin, CARD_FILE), files[CARD_FILE], repo_id, license)
        return push(
            repo_id,
            files,
            private=private,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message,
            commit_description=commit_description,
            token=token,
            license=license,
        )

    def _files(
        self,
        config: ArtifactConfig,
        style_image: ImageLike | None,
        preview: ImageLike | None,
        license: str | None,
        extra: Mapping[str, bytes] | None,
    ) -> dict[str, bytes]:
        pictures: dict[str, bytes] = {}
        if preview is not None:
            photo = load_image(preview).copy()
            photo.thumbnail((CARD_PIXELS, CARD_PIXELS))
            pictures[PREVIEW_FILE] = card_picture(self.stylize(photo))
        if style_image is not None:
            pictures[STYLE_FILE] = card_picture(load_image(style_image))
        shown = {*pictures, *(extra or {})}
        card = make_card(config, self.base.fingerprint, pictures=shown, license=license)
        return artifact_files(config, self._own_parameters(), {**(extra or {}), **pictures, CARD_FILE: card.encode()})

    def _own_parameters(self) -> Parameters:
        """What a file of this holds: of a style of norms the norms alone, the rest is the base's."""
        norms_only = not self.is_base and self.config.parameters == "norm"
        return norm_parameters(self.parameters) if norms_only else self.parameters

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
        elsewhere = _MOVED.setdefault(self, WeakValueDictionary())
        if (known := elsewhere.get(where)) is not None:
            return known
        if self.base is self:
            moved = MetaStyle(self.config, {k: p.to(where) for k, p in self.parameters.items()}, None, self.origin)
        else:
            base = self.base.to(where)
            shared = self.base.parameters
            parameters = {k: base.parameters[k] if p is shared[k] else p.to(where) for k, p in self.parameters.items()}
            moved = MetaStyle(self.config, parameters, base, self.origin)
        elsewhere[where] = moved
        return moved

    def __repr__(self) -> str:
        what = (
            self.config.kind
            if self.is_base
            else f"style of {self.config.parameters} parameters, "
            + ("mixed" if self.config.steps is None else f"{self.config.steps} steps")
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
            output=self.config.output,
            name=name,
            parameters=kind,
            base_model=self._reference(),
            adaptation=config.to_dict(),
            style_sha256=digest,
            features=config.features,
        )
        before = 0 if self.is_base else (self.config.steps or 0)
        # its own network, since whoever consumes the steps may do so from one thread after another
        network = _new_skeleton(self.config.architecture, self.config.output or "sigmoid")
        for step in adapt_parameters(network, self.parameters, style, contents, loss, config):
            moved = step.parameters if kind == "all" else {**self.base.parameters, **norm_parameters(step.parameters)}
            model = MetaStyle(replace(described, steps=before + step.index), moved, self.base)
            yield StyleStep(step.index, step.loss, step.content, step.style, model)

    def _reference(self) -> BaseReference:
        if not self.is_base and self.config.base_model is not None:
            return self.config.base_model
        origin = self.base.origin
        if origin is None:
            return BaseReference(self.base.fingerprint, "unshared")
        if origin.folder == _EMBEDDED:
            return BaseReference(self.base.fingerprint)
        return BaseReference(self.base.fingerprint, origin.repo_id or str(origin.folder.resolve()), origin.commit)

    # ---- stylising

    @overload
    def stylize(
        self,
        photo: Tensor,
        *,
        strength: float = ...,
        size: int | None = ...,
        keep_photo_colors: bool = ...,
        styles: Sequence[MetaStyle] | None = ...,
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
        styles: Sequence[MetaStyle] | None = ...,
    ) -> list[Any]: ...

    def stylize(
        self,
        photo: Any,
        *,
        strength: float = 1.0,
        size: int | None = None,
        keep_photo_colors: bool = False,
        styles: Sequence[MetaStyle] | None = None,
    ) -> Any:
        """The photo in this style, upright and of the photo's size.

        Args:
            photo: a PIL image, a path or an array gives a PIL image (alpha is kept); a list gives a list;
                a float tensor (3, H, W) or (B, 3, H, W) in [0, 1] gives such a tensor.
            strength: 1 is the style, 0 the base, which returns the photo nearly as it is.
            size: pixels of the result's short side; None keeps the photo's. Smaller gives broader strokes.
            keep_photo_colors: take only the lightness from the style, the colours from the photo.
            styles: for a list or a batch, one style of this base for each photo, instead of this one for all. Photos
                of one size whose styles moved norms only go through the network together, in one pass.

        Raises:
            ImageError: a picture that cannot be used.
            ValueError: strength outside [0, 1], a size below 1, or styles that do not fit.

        >>> style.stylize("photo.jpg", strength=0.6).save("out.png")
        >>> first, second = base.stylize(["a.jpg", "b.jpg"], styles=[wave, glass])
        """
        if styles is not None:
            return self._stylize_each(photo, styles, strength, size, keep_photo_colors)
        if isinstance(photo, list | tuple):
            return [self.stylize(p, strength=strength, size=size, keep_photo_colors=keep_photo_colors) for p in photo]
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}.")
        picture = photo if isinstance(photo, Tensor) else load_image(photo)
        images = _sized(picture, size)
        result = stylize_tensor(self._network, self._at(strength), images.to(self.device))
        return _finished(result, images, picture, keep_photo_colors)

    def _stylize_each(
        self, photos: Any, styles: Sequence[MetaStyle], strength: float, size: int | None, keep_photo_colors: bool
    ) -> Any:
        batch = isinstance(photos, Tensor) and photos.ndim == 4
        count = len(photos) if batch or isinstance(photos, list | tuple) else 1
        if count != len(styles) or not (batch or isinstance(photos, list | tuple)):
            raise ValueError(f"styles go with a list or batch of as many photos; got {count} and {len(styles)} styles.")
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}.")
        if other := next((s for s in styles if s.base.fingerprint != self.base.fingerprint), None):
            raise ValueError(f"{other.name} is no style of this base; stylize with it by itself.")
        pictures = [p if isinstance(p, Tensor) else load_image(p) for p in photos]
        images = [_sized(p, size) for p in pictures]
        own = {id(s): s.to(self.device)._at(strength) for s in styles}
        results = stylize_several(self._network, [own[id(s)] for s in styles], [x.to(self.device) for x in images])
        done = [_finished(*each, keep_photo_colors) for each in zip(results, images, pictures, strict=True)]
        return torch.stack(done) if batch else done

    def _at(self, strength: float) -> Parameters:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, got {strength}.")
        if strength == 1:
            return self.parameters
        norms_only = self.config.parameters == "norm" and not self.is_base
        pick = norm_parameters if norms_only else dict
        mixed = combine([pick(self.parameters), pick(self.base.parameters)], [strength, 1 - strength])
        return {**self.base.parameters, **mixed}


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
    adapted = [s for s in styles if not s.is_base]
    norms_only = all(s.config.parameters == "norm" for s in adapted)
    pick = norm_parameters if norms_only else dict
    mixed = combine([pick(style.to(first.device).parameters) for style in styles], values)
    parameters = {**first.base.parameters, **mixed}
    described = ArtifactConfig(
        kind="style",
        architecture=first.config.architecture,
        name=" + ".join(f"{w:.0%} {s.name}" for s, w in zip(styles, values, strict=True) if w > 0),
        parameters="norm" if norms_only else "all",
        output=first.config.output,
        base_model=first._reference(),
        mix=[{"name": s.name, "weight": w} for s, w in zip(styles, values, strict=True)],
    )
    return MetaStyle(described, parameters, first.base)


_THREAD = threading.local()


def _skeleton(architecture: NetworkConfig, output: str) -> ImageTransformationNetwork:
    """The network as a function: it holds no numbers, those come as a parameter dictionary.

    One for every thread: `functional_call` lends the module its parameters for the time of the call, so two
    threads that shared one would paint with each other's.
    """
    known: dict[tuple[NetworkConfig, str], ImageTransformationNetwork] = _THREAD.__dict__.setdefault("networks", {})
    if (architecture, output) not in known:
        known[architecture, output] = _new_skeleton(architecture, output)
    return known[architecture, output]


def _new_skeleton(architecture: NetworkConfig, output: str) -> ImageTransformationNetwork:
    with torch.device("meta"):
        return ImageTransformationNetwork(architecture, output).eval()


@lru_cache(maxsize=1)
def _embedded_base() -> MetaStyle:
    artifact = read_artifact(_EMBEDDED, "the package's own base")
    return _remember(MetaStyle(artifact.config, artifact.parameters, origin=Snapshot(_EMBEDDED)))


# bases in use, by fingerprint: ten styles on one base cost one base
_BASES: WeakValueDictionary[str, MetaStyle] = WeakValueDictionary()


# one copy of a base on every device, however many styles go there
_MOVED: WeakKeyDictionary[MetaStyle, WeakValueDictionary[torch.device, MetaStyle]] = WeakKeyDictionary()


def _remember(base: MetaStyle) -> MetaStyle:
    known = _BASES.get(base.fingerprint)
    # the same numbers from another place are another base to whoever saves a style of it
    if known is not None and known.origin == base.origin and known.config == base.config:
        return known
    _BASES[base.fingerprint] = base
    return base


def _find_base(config: ArtifactConfig, style: Snapshot, options: HubOptions) -> MetaStyle:
    """The base that a style names: one that is loaded or in the package if the fingerprint matches, else its place."""
    reference = config.base_model
    assert reference is not None
    if (known := _BASES.get(reference.fingerprint)) is not None:
        return known
    if (_EMBEDDED / "config.json").is_file() and _embedded_base().fingerprint == reference.fingerprint:
        return _embedded_base()
    where = f"{style} needs the base {reference.fingerprint[:12]}"
    if reference.repo_id == "embedded":
        raise ArtifactError(f"{where} of another version of metastyle_hub ({config.library_version}); install that.")
    try:
        if reference.revision is not None:
            at = replace(options, force_download=False)
            return MetaStyle.from_pretrained(reference.repo_id, revision=reference.revision, **vars(at))
        # a folder is only looked up for a style from a folder: a repo has no say in what is read on this machine
        if style.repo_id is None and Path(reference.repo_id).is_dir():
            return MetaStyle.from_pretrained(Path(reference.repo_id))
    except HubError as error:
        raise HubError(f"{where}, but: {error}") from error
    raise ArtifactError(f"{where}, which is not here ({reference.repo_id}); load it first, then base.apply(style).")


def _sized(picture: Image.Image | Tensor, size: int | None) -> Tensor:
    images = to_tensor(picture)
    return resize_short_side(images, size) if size else images


def _finished(result: Tensor, images: Tensor, picture: Image.Image | Tensor, keep_photo_colors: bool) -> Any:
    """The result as what the picture came as, with what it keeps of it."""
    result = result.to(images.device)
    result = keep_colors(result, images) if keep_photo_colors else result
    if isinstance(picture, Tensor):
        return result[0] if picture.ndim == 3 else result
    return with_alpha(to_pil(result), picture) if picture.mode == "RGBA" else to_pil(result)


def _style_tensor(picture: Tensor, size: int) -> Tensor:
    """The style picture at its working size; small or narrow ones are enlarged, so that every tap has features."""
    height, width = picture.shape[-2:]
    # a picture as narrow as a ribbon would grow without bound; its middle tells the style as well
    if max(height, width) > 4 * min(height, width):
        side = 4 * min(height, width)
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        picture = picture[..., top : top + side, left : left + side]
    return resize_short_side(picture, size)
