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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.artifacts.config import ArtifactConfig, ArtifactError
from metastyle_hub.artifacts.files import Artifact, checked_parameters, checked_predictor, fingerprint, stored_tensors
from metastyle_hub.contents import Contents
from metastyle_hub.devices import DeviceError, resolve_device
from metastyle_hub.hub.reading import HubOptions
from metastyle_hub.hub.writing import PushOptions
from metastyle_hub.images import ImageLike
from metastyle_hub.interpolation import InterpolationError, check_weights, combine
from metastyle_hub.learning import Lesson, learn
from metastyle_hub.loading import Bases, load, placed
from metastyle_hub.network import NetworkConfig
from metastyle_hub.parameters import moving_parameters, widest
from metastyle_hub.sharing import NOTHING, Along, save, share, without_paths
from metastyle_hub.skeletons import resolve_dtype
from metastyle_hub.stylist import Stylist

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

__all__ = ["MetaStyle", "StyleStep", "interpolate"]

_MOST_NAME = 80  # characters of the name of a mix


@dataclass(frozen=True)
class StyleStep:
    """One step of an adaptation: the losses, and a usable style as it stands."""

    index: int  # gradient steps taken so far; 0 is the base
    loss: float  # total, on the contents of this step
    content: float
    style: float
    style_model: MetaStyle


class MetaStyle(Stylist):
    """A base, or a style adapted from a base. Immutable.

    Attributes:
        config: what it is and where it came from (`ArtifactConfig`).
        parameters: the whole network's parameters by name. Read only, also the tensors: what adaptation did not move is
            shared by a base and its styles, so whoever writes into one writes into all.
        base: the base of a style; a base is its own.
        predictor: of a base that has one, the parameters of the network that guesses where adaptation begins.
        device: where the parameters are.
        dtype: of the arithmetic when stylising; the parameters themselves are always float32.
        origin: the folder, or the commit of a repo, that it was loaded from; None when it was made here.
    """

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
        dtype: str | torch.dtype = torch.float32,
        device_map: None = None,
    ) -> MetaStyle:
        """Load a base or a style; a style brings its base along. Parameters are float32 and never pickled.

        Args:
            source: a folder made by `save_pretrained`, or a Hub repo "user/name" or "user/name@revision"; None for
                the base that ships with the package.
            revision: branch, tag, commit or "refs/pr/1" of the repo. It is resolved once; all files are of one commit.
            token, cache_dir, local_files_only, force_download: as in huggingface_hub.
            device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the fastest that there is.
            dtype: of the arithmetic when stylising: float32, or bfloat16 or float16, which are quicker on GPUs and, on
                usual photos, one or two of 255 levels away from it; on photos of very low contrast or of one colour,
                which the instance norms stretch, bfloat16 is up to 13 levels away. Pictures so large that they are
                painted in tiles are always painted in float32. The parameters stay float32 (they are 7 MB), so that
                what is saved, mixed or adapted further is the same in every dtype.

        Raises:
            ArtifactError: there is nothing there, it is damaged, newer than this library, or belongs to another base.
            HubError: the Hub or the way there failed.
            DeviceError: no such device or dtype.

        >>> MetaStyle.from_pretrained("me/starry-night@v1").stylize("photo.jpg").save("out.png")
        """
        if device_map is not None:
            raise DeviceError("A network of 7 MB has nothing to divide by a device_map; say device='auto' instead.")
        where, precision = resolve_device(device), resolve_dtype(dtype)
        options = HubOptions(token, cache_dir, local_files_only, force_download)
        if source is None:
            return _BASES.embedded().to(where, precision)
        artifact, origin = load(source, revision, options)
        if artifact.config.kind == "base":
            return _BASES.remember(artifact, origin).to(where, precision)
        base = _BASES.of_style(artifact.config, origin, options)
        return cls(artifact.config, placed(artifact, base, origin), base, origin).to(where, precision)

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
        """A style on this very base, which shares the base's parameters and costs what it moved, 0.4 MB as a rule.

        Args:
            style: a style, or where one is; see `from_pretrained`.
            revision: branch, tag, commit or "refs/pr/1" of the repo.
            token, cache_dir, local_files_only, force_download: as in huggingface_hub.

        Raises:
            ArtifactError, HubError: see `from_pretrained`; also for a style of another base.

        >>> wave, glass = base.apply("me/wave"), base.apply("me/stained-glass")
        """
        if isinstance(style, MetaStyle):
            artifact, origin = Artifact(style.config, style._own_parameters), style.origin
        else:
            artifact, origin = load(style, revision, HubOptions(token, cache_dir, local_files_only, force_download))
        if artifact.config.kind == "style":
            return MetaStyle(artifact.config, placed(artifact, self.base, origin), self.base, origin)
        if fingerprint(artifact.parameters) != self.base.fingerprint:
            raise ArtifactError(f"{origin or style} is a base, not a style; load it with from_pretrained.")
        return self.base

    @classmethod
    def from_parameters(
        cls,
        parameters: Mapping[str, Tensor],
        architecture: NetworkConfig | None = None,
        *,
        predictor: Mapping[str, Tensor] | None = None,
        **config: Any,
    ) -> MetaStyle:
        """A base from a parameter dictionary, such as meta-training makes; it keeps a copy in float32.

        Args:
            architecture: of the network that they are the parameters of, default `NetworkConfig()`. A wrong size is
                refused. A wrong `photo_channels` or `upsampling` cannot be told from the parameters: the base would
                paint other pictures.
            predictor: the `state_dict()` of a `StylePredictor` for this network, if there is one.
            **config: further fields of `ArtifactConfig`, such as name.

        Raises:
            ArtifactError: names or shapes that are not this architecture's, or values that are not finite.

        >>> MetaStyle.from_parameters(trainer.average).save_pretrained("runs/base")
        """
        made = ArtifactConfig(kind="base", architecture=architecture or NetworkConfig(), **config)
        remedy = "name the network that they are of with architecture=NetworkConfig(...)"
        checked = checked_parameters(parameters, made, "the dictionary of parameters", remedy)
        guess = predictor and checked_predictor(predictor, made, "the dictionary of the predictor", remedy)
        guess = guess and {name: p.detach().clone() for name, p in guess.items()}
        return cls(made, {name: p.detach().clone() for name, p in checked.items()}, predictor=guess)

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
            extra: further files by name, without folders.

        What else is in the folder stays, but for the preview.jpg and style.jpg of another style that was there. So
        does a README.md that cannot be read as a card, with a warning.

        Raises:
            ArtifactError: the folder cannot be written, or holds a `config.json` of something else.
            ImageError: a picture that cannot be used.

        >>> style.save_pretrained("starry", preview="photo.jpg")
        """
        return save(folder, self._files(Along(style_image, preview, license, extra)), license)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        style_image: ImageLike | None = None,
        preview: ImageLike | None = None,
        license: str | None = None,
        extra: Mapping[str, bytes] | None = None,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        commit_description: str | None = None,
        token: str | bool | None = None,
    ) -> CommitInfo:
        """Share on the Hugging Face Hub: one commit, or none when the repo has it all already.

        A card that people wrote in keeps its text; its metadata is brought up to date.

        Args:
            repo_id: "user/name"; made if it does not exist.
            style_image, preview, license, extra: see `save_pretrained`.
            private: of a repo that does not exist yet.
            revision: a branch, made if it does not exist; default main.
            create_pr: propose the commit as a pull request to main instead.
            commit_message, commit_description, token: as in huggingface_hub.

        Returns:
            huggingface_hub's `CommitInfo`: the address of the commit, with `oid` and `pr_url`.

        A style of a base that has no place on the Hub goes there with a warning: nobody else can load it.

        Raises:
            HubError: the Hub or the way there failed.

        >>> style.push_to_hub("me/starry-night", commit_message="More steps")
        """
        chosen = PushOptions(private, revision, create_pr, commit_message, commit_description, token)
        files = self._files(Along(style_image, preview, license, extra), without_paths(self.config))
        return share(repo_id, files, self.origin, license, chosen)

    def _files(self, along: Along = NOTHING, config: ArtifactConfig | None = None) -> dict[str, bytes]:
        tensors = stored_tensors(self._own_parameters, self.predictor)
        return along.files(config or self.config, tensors, self.base.fingerprint, self.stylize)

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

        On a CPU, the same pictures and settings give the same style bit for bit; on GPUs nearly the same, as some of
        torch's gradients are not deterministic there.

        Args:
            style: the picture whose style it shall be.
            contents: your photos (they share the lessons with the built-in pictures), or a folder of many.
            config: all settings at once, or
            **settings: single fields of `AdaptationConfig`: steps, parameters, size, style_size, seed, and
                weights=LossWeights(style_weight=20), for one; `**style.config.adaptation` are those of a style.

        Raises:
            ImageError: a picture that cannot be used.
            SettingError: a setting out of range.
            FeaturesError: the feature network cannot be had on this machine.
            AdaptationError: while iterating, the loss is not finite.
            DeviceError: while iterating, the memory of the device does not suffice.

        >>> for step in base.adapt_iter("wave.jpg", steps=200):
        ...     print(step.index, step.loss)
        """
        lesson = Lesson.of(style, contents, replace(config or AdaptationConfig(), **settings))
        steps = learn(lesson, self.config, self.parameters, self.base.parameters, self._reference, self.predictor)
        return (
            StyleStep(step.index, step.loss, step.content, step.style, MetaStyle(described, moved, self.base))
            for step, described, moved in steps
        )


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
    known = (adapted or [first])[0]  # what a base made here has forgotten about itself, its styles may know
    moves = widest(s.config.parameters for s in adapted)
    mixed = combine([moving_parameters(style.to(first.device).parameters, moves) for style in styles], values)
    parameters = {**first.base.parameters, **mixed}
    described = ArtifactConfig(
        kind="style",
        architecture=first.config.architecture,
        name=_mixed_name(styles, values),
        parameters=moves,
        output=first.config.output,
        base_model=known._reference,
        features=known.config.features,
        mix=[{"name": s.name, "weight": w} for s, w in zip(styles, values, strict=True)],
    )
    return MetaStyle(described, parameters, first.base)


def _mixed_name(styles: Sequence[MetaStyle], weights: Sequence[float]) -> str:
    """The shares and names, cut short: mixes of mixes would double it every time."""
    name = " + ".join(f"{w:.0%} {s.name}" for s, w in zip(styles, weights, strict=True) if w > 0)
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


# ten styles on one base cost one base, wherever they come from
_BASES: Bases[MetaStyle] = Bases(
    lambda read, origin: MetaStyle(read.config, read.parameters, None, origin, predictor=read.predictor)
)
