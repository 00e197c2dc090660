"""MetaStyle: a base, or a style adapted from one. Adapts, stylizes, interpolates, saves, shares.

    base  = MetaStyle.from_pretrained()
    style = base.adapt("starry_night.jpg", steps=100)
    style.stylize("photo.jpg").save("out.png")

Objects are immutable: adaptation returns a new style and leaves the base unchanged.
"""

from __future__ import annotations

import functools
import io
import math
import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload
from weakref import WeakValueDictionary

import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from metastyle_hub.adaptation import (
    AdaptationConfig,
    AdaptationOptions,
    AdaptationStep,
    AdaptationTask,
    adapt_parameters,
    load_style_images,
    predicted_initialization,
)
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig, BaseReference
from metastyle_hub.artifacts.model_card import CARD_FILE
from metastyle_hub.artifacts.serialization import Artifact, checked_artifact, fingerprint
from metastyle_hub.config import expanded
from metastyle_hub.data.content import ContentImages
from metastyle_hub.data.examples import example
from metastyle_hub.devices import memory_errors, resolve_device, resolve_dtype
from metastyle_hub.errors import ArtifactError, InterpolationError, SettingError
from metastyle_hub.hub.base_registry import BaseRegistry
from metastyle_hub.hub.download import EMBEDDED, DownloadOptions, Snapshot, load_artifact
from metastyle_hub.hub.upload import Attachments, UploadOptions, push, save_artifact
from metastyle_hub.images.io import ImageLike
from metastyle_hub.interpolation import check_weights, interpolate_parameters
from metastyle_hub.networks.param_groups import Parameters, largest_trainable, trainable_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet, meta_network, thread_network
from metastyle_hub.stylization import StylizationConfig, stylize, stylize_regions
from metastyle_hub.video.stylize import VideoConfig, VideoStep, stylize_video

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

__all__ = ["MetaStyle", "StyleStep", "interpolate"]

_MAX_NAME = 80  # characters of the name of a mix
_MAX_STRENGTH = 1.5  # beyond, images fall apart
_PREVIEW_SIZE = 256  # pixels of the short side, in notebooks
_REGISTRY = BaseRegistry()


@dataclass(frozen=True)
class StyleStep(AdaptationStep):
    """One step of an adaptation: the losses, and a usable style with the parameters of that step."""

    style_model: MetaStyle


class _FrameOptions(TypedDict, total=False):
    strength: float
    size: int | None
    stroke_scale: float | None
    preserve_color: bool
    backend: str


class _StylizeOptions(_FrameOptions, total=False):
    mask: ImageLike | Sequence[ImageLike] | None
    feather: float


class _VideoOptions(_FrameOptions, total=False):
    max_frames: int | None
    config: VideoConfig | None


class _DownloadOptions(TypedDict, total=False):
    token: str | bool | None
    cache_dir: str | Path | None
    local_files_only: bool
    force_download: bool
    subfolder: str | None


class MetaStyle:
    """A base, or a style adapted from a base. Immutable; equal to any other with the same parameters.

    Attributes:
        config: what it is and where it came from (`ArtifactConfig`).
        base: the base of a style; a base is its own.
        predictor: the parameters of a base's style predictor, or None.
        device: of the parameters.
        dtype: of the arithmetic of `stylize`; the parameters are always float32.
        origin: the folder, or the commit of a repo, it was loaded from; None if it was made here.

    >>> MetaStyle.from_pretrained()
    MetaStyle('metastyle-base', base, on cpu)
    """

    def __init__(
        self,
        config: ArtifactConfig,
        parameters: Mapping[str, Tensor],
        base: MetaStyle | None = None,
        *,
        origin: Snapshot | None = None,
        dtype: torch.dtype | None = None,
        predictor: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Wrap tensors without a copy; users call `from_pretrained`, `adapt` and `interpolate` instead."""
        self.config = config
        self._parameters: Parameters = dict(parameters)
        self.base: MetaStyle = base or self
        self.device = next(iter(self._parameters.values())).device
        self.dtype: torch.dtype = dtype or (base.dtype if base is not None else torch.float32)
        self.origin = origin
        self.predictor: Parameters | None = None if predictor is None else dict(predictor)
        self._artifact: Artifact | None = None  # of a loaded base: keeps its entry in the registry
        self._copies: WeakValueDictionary[tuple[torch.device, torch.dtype], MetaStyle] = WeakValueDictionary()

    # ---- load

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        subfolder: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = torch.float32,
    ) -> MetaStyle:
        """Load a base, or a style together with its base. Nothing is ever unpickled.

        Args:
            pretrained_model_name_or_path: a folder written by `save_pretrained`, or a Hub repo "user/name" or
                "user/name@revision"; None for the base that ships with the package.
            revision: branch, tag, commit or "refs/pr/1". It is resolved once, and all files come from that commit.
            subfolder: of the folder or repo.
            token, cache_dir, local_files_only, force_download: as in huggingface_hub.
            device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the accelerator if there is one; None for the CPU.
            dtype: of the arithmetic of `stylize`: float32, or bfloat16 and float16, which are faster on GPUs. On usual
                photos single pixels differ by up to 11 levels of 255 in bfloat16 and 1 in float16, on average by 0.65
                and 0.08 (14 styles, `scripts/evaluation/half_precision.py`); more where contrast is very low.
                Tiled images always use float32, and so do saving, interpolation and further adaptation.

        Raises:
            ArtifactError: if nothing is there, or it is damaged, newer than this library, or of another base.
            HubError: if the Hub or the network fails.
            DeviceError: for a device or dtype that is not available.

        >>> MetaStyle.from_pretrained("me/starry@v1").stylize("photo.jpg").save("out.png")
        """
        placement = resolve_device("cpu" if device is None else device), resolve_dtype(dtype)
        if pretrained_model_name_or_path is None:
            return cls._from_base_artifact(_REGISTRY.embedded()).to(*placement)
        options = DownloadOptions(token, cache_dir, local_files_only, force_download, subfolder)
        artifact = load_artifact(pretrained_model_name_or_path, revision, options)
        if artifact.config.kind == "base":
            return cls._from_base_artifact(_REGISTRY.add(artifact)).to(*placement)
        base = cls._from_base_artifact(_REGISTRY.resolve(artifact, options))
        return base._with_style(artifact).to(*placement)

    def load_style(
        self,
        style: MetaStyle | str | os.PathLike[str],
        *,
        revision: str | None = None,
        **options: Unpack[_DownloadOptions],
    ) -> MetaStyle:
        """Load a style of this base. It shares the base's parameters and adds its own, 0.4 MB by default.

        Args:
            style: a style, or where one is.
            revision, **options: see `from_pretrained`.

        Raises:
            ArtifactError: see `from_pretrained`; also for a style of another base.
            HubError: see `from_pretrained`.

        >>> wave, glass = base.load_style("me/wave"), base.load_style("me/glass")
        """
        if isinstance(style, MetaStyle):
            artifact = Artifact(style.config, style._own_parameters, origin=style.origin)
        else:
            artifact = load_artifact(style, revision, DownloadOptions(**options))
        if artifact.config.kind == "style":
            return self.base._with_style(artifact)
        if artifact.fingerprint != self.base.fingerprint:
            raise ArtifactError(f"{artifact.origin or style} is a base, not a style; load it with from_pretrained.")
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
        """Make a base from a parameter dictionary, such as the result of meta-training. The values are copied.

        Args:
            parameters: by name, as `TransformerNet.named_parameters` gives them.
            architecture: of the network, default `NetworkConfig()`. Wrong sizes are refused; a wrong `logit_skip` or
                `upsampling` cannot be detected from the parameters.
            predictor: the `state_dict()` of a `StylePredictor` for this network.
            **config: further fields of `ArtifactConfig`, such as name.

        Raises:
            ArtifactError: for names or shapes of another architecture, or values that are not finite.

        Example::

            MetaStyle.from_parameters(trainer.ema).save_pretrained("runs/base")
        """
        described = ArtifactConfig(kind="base", architecture=architecture or NetworkConfig(), **config)
        tensors = {**parameters, **{f"predictor.{name}": p for name, p in (predictor or {}).items()}}
        remedy = "pass the architecture of the network, architecture=NetworkConfig(...)"
        artifact = checked_artifact(described, tensors, "the parameter dictionary", remedy)
        copied = {name: p.detach().clone() for name, p in artifact.parameters.items()}
        own = artifact.predictor and {name: p.detach().clone() for name, p in artifact.predictor.items()}
        return cls(described, copied, predictor=own)

    @classmethod
    def _from_base_artifact(cls, artifact: Artifact) -> MetaStyle:
        """Return the object of a registered base: the same one for all of its styles."""
        model = _BASE_MODELS.get(id(artifact))
        if model is None:
            model = cls(artifact.config, artifact.parameters, origin=artifact.origin, predictor=artifact.predictor)
            model._artifact = artifact
            _BASE_MODELS[id(artifact)] = model
        return model

    def _with_style(self, artifact: Artifact) -> MetaStyle:
        """Return a loaded style of this base."""
        reference, where = artifact.config.base_model, artifact.origin or artifact.config.name or "The style"
        assert reference is not None
        if self.fingerprint != reference.fingerprint:
            raise ArtifactError(
                f"{where} was adapted from base {reference.fingerprint[:12]} ({reference.repo_id}), not from "
                f"{self.fingerprint[:12]}; load it with from_pretrained, which finds its base."
            )
        if artifact.config.architecture != self.config.architecture:
            raise ArtifactError(f"{where} and its base have different architectures; the config.json is damaged.")
        own = {name: p.to(self.device) for name, p in artifact.parameters.items()}
        return self._new_style(artifact.config, own, artifact.origin)

    # ---- save and share

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        style_image: ImageLike | None = None,
        preview: ImageLike | None = None,
        license: str | None = None,
        extra: Mapping[str, bytes] | None = None,
        token: str | bool | None = None,
    ) -> Path:
        """Write `config.json`, `model.safetensors` and a model card `README.md`, each whole or not at all.

        Other files in the folder stay, except preview.jpg and style.jpg of a style that was there before. A README.md
        that somebody edited keeps its text; one that cannot be parsed stays unchanged, with a warning.

        Args:
            save_directory: the folder; it is created if it does not exist.
            push_to_hub, repo_id, token: also push to this repo, default the name of the folder.
            style_image: an image to save as style.jpg. Only on request, since it may not be yours to share; its
                SHA-256 is always recorded.
            preview: a content image; stylized, it is saved as preview.jpg.
            license: of the parameters, default that of an existing card, or apache-2.0.
            extra: further files by name, without folders.

        Returns:
            the folder.

        Raises:
            ArtifactError: if the folder cannot be written, or holds a `config.json` of another library.
            ImageError: for an image that cannot be used.
            HubError: with push_to_hub, if the Hub or the network fails.

        >>> style.save_pretrained("starry", preview="photo.jpg")
        PosixPath('starry')
        """
        attachments = Attachments(style_image, preview, license, extra)
        files = attachments.files(self._to_artifact(), self.base.fingerprint, self.stylize)
        folder = save_artifact(save_directory, files, license)
        if push_to_hub:
            rendered = {name: files[name] for name in files.keys() - {CARD_FILE, CONFIG_FILE, WEIGHTS_FILE}}
            name = repo_id or folder.resolve().name
            type(self).push_to_hub(self, name, license=license, extra=rendered, token=token)
        return folder

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
        """Push to the Hugging Face Hub in one commit, or in none if the repo has all files already.

        A card that somebody edited keeps its text; its metadata is updated. A style whose base is not on the Hub is
        pushed with a warning, since nobody else can load it.

        Args:
            repo_id: "user/name"; the repo is created if it does not exist.
            style_image, preview, license, extra: see `save_pretrained`.
            private: of a new repo.
            revision: a branch, created if it does not exist; default main.
            create_pr: open a pull request to main instead.
            commit_message, commit_description, token: as in huggingface_hub.

        Returns:
            huggingface_hub's `CommitInfo`, with `oid` and `pr_url`.

        Raises:
            HubError: if the Hub or the network fails.
            ImageError: for an image that cannot be used.

        >>> style.push_to_hub("me/starry", commit_message="More steps").repo_url.repo_id
        'me/starry'
        """
        attachments = Attachments(style_image, preview, license, extra)
        artifact = replace(self._to_artifact(), config=self.config.without_local_paths())
        files = attachments.files(artifact, self.base.fingerprint, self.stylize)
        options = UploadOptions(private, revision, create_pr, commit_message, commit_description, token)
        return push(repo_id, files, options, origin=self.origin, license=license)

    # ---- adapt

    def adapt(
        self,
        style_image: ImageLike | Sequence[ImageLike],
        *,
        content_images: ContentImages = None,
        style_mask: ImageLike | Sequence[ImageLike] | None = None,
        name: str | None = None,
        config: AdaptationConfig | None = None,
        progress: bool = True,
        **options: Unpack[AdaptationOptions],
    ) -> MetaStyle:
        """Adapt to the style of an image and return the new style; arguments as in `adapt_iter`.

        Args:
            progress: whether to show a progress bar on stderr.

        Example::

            style = MetaStyle.from_pretrained().adapt("starry_night.jpg", steps=100)
        """
        from tqdm.auto import tqdm

        steps = self.adapt_iter(
            style_image, content_images=content_images, style_mask=style_mask, name=name, config=config, **options
        )
        first = next(steps)
        total = _adaptation_config(config, options).steps
        with tqdm(total=total, desc=first.style_model.name[:20], unit="step", disable=not progress) as bar:
            last = first
            for last in steps:
                bar.update()
                bar.set_postfix_str(f"loss {last.loss:.2f}", refresh=False)
        return last.style_model

    def adapt_iter(
        self,
        style_image: ImageLike | Sequence[ImageLike],
        *,
        content_images: ContentImages = None,
        style_mask: ImageLike | Sequence[ImageLike] | None = None,
        name: str | None = None,
        config: AdaptationConfig | None = None,
        **options: Unpack[AdaptationOptions],
    ) -> Iterator[StyleStep]:
        """Adapt step by step: `steps + 1` yields, the first of which is the base. A caller may stop at any time.

        On a CPU the same images and settings give the same style bit for bit; on GPUs some of torch's gradients are
        not deterministic.

        Args:
            style_image: the image, or several images of one style, whose Gram matrices are averaged.
            content_images: your images, which get half of the crops, the built-in ones the other half; or a folder,
                which is used alone.
            style_mask: an image that is white where the style image shows the style; or one for each style image.
            name: of the style, default that of the image file.
            config: all settings, such as `AdaptationConfig.paper()`; or
            **options: single fields of `AdaptationConfig`: steps, trainable, style_size, seed ...; the settings of a
                style are `**style.config.adaptation`.

        Raises:
            ImageError: for an image that cannot be used.
            SettingError: for an unknown setting or a wrong value.
            FeatureExtractorError: if the feature extractor is not available.
            AdaptationError: while iterating, if the loss is not finite.
            DeviceError: while iterating, if memory runs out.

        Example::

            for step in base.adapt_iter("wave.jpg", steps=200):
                print(step.index, step.loss)
        """
        config = _adaptation_config(config, options)
        task = AdaptationTask.load(style_image, content_images, config, self.device, style_mask)
        out_of_memory = "a smaller crop_size, style_size or batch_size"
        with memory_errors("adaptation", self.device, out_of_memory):
            initialization = self._predicted(task.style) if config.use_predictor else None
        # a style adapted from a style owns what any of its adaptations trained
        trainable = largest_trainable([config.trainable, *([] if self.is_base else [self.config.trainable])])
        described = self._style_config(
            name=name or task.name,
            trainable=trainable,
            adaptation=task.config.to_dict(),
            style_sha256=task.sha256,
            feature_extractor=config.feature_extractor,
        )
        earlier_steps = 0 if self.is_base else self.config.steps or 0
        # not `thread_network`: the caller may consume the steps from several threads in turn
        network = meta_network(self.config.architecture, self.config.output_activation)
        stream = adapt_parameters(
            network, self._parameters, task.style, task.contents, task.loss, task.config, initialization
        )

        def steps() -> Iterator[StyleStep]:
            with memory_errors("adaptation", self.device, out_of_memory):
                for step in stream:
                    model_config = replace(described, steps=earlier_steps + step.index)
                    model = self._new_style(model_config, trainable_parameters(step.parameters, trainable))
                    yield StyleStep(step.index, step.loss, step.content, step.style, model._parameters, model)

        return steps()

    def predict_style(
        self, style_image: ImageLike | Sequence[ImageLike], *, name: str | None = None, style_size: int | None = None
    ) -> MetaStyle:
        """Return the style that the base's predictor gives for an image, without a gradient step.

        It is usable at once; `adapt` starts from it and refines it.

        Args:
            style_image: the image, or several images of one style.
            name: of the style, default that of the image file.
            style_size: pixels of the style image's short side; None for the default of `AdaptationConfig`.

        Raises:
            ImageError: for an image that cannot be used.
            SettingError: if the base has no predictor.

        >>> MetaStyle.from_pretrained().predict_style("starry_night.jpg")
        MetaStyle('starry_night', style of norm parameters, 0 steps, on cpu)
        """
        config = AdaptationConfig() if style_size is None else AdaptationConfig(style_size=style_size)
        style, sha256, file_name = load_style_images(style_image, config.style_size)
        with memory_errors("style prediction", self.device, "a smaller style_size"):
            predicted = self._predicted(style)
        if predicted is None:
            raise SettingError(f"{self.name} has no style predictor; use adapt instead.")
        described = self._style_config(
            name=name or file_name,
            trainable="norm",
            steps=0,
            style_sha256=sha256,
            feature_extractor=self.config.feature_extractor,
        )
        return self._new_style(described, predicted)

    def _predicted(self, style: Sequence[Tensor]) -> Parameters | None:
        """The norm parameters that the predictor gives; None for a style, or a base without one."""
        if self.predictor is None:
            return None
        return predicted_initialization(self.predictor, self.config.feature_extractor, self._parameters, style)

    def _style_config(self, **fields: Any) -> ArtifactConfig:
        """The config of a style of this base."""
        return ArtifactConfig(
            kind="style",
            architecture=self.config.architecture,
            output_activation=self.config.output_activation,
            base_model=self._reference,
            **fields,
        )

    def _new_style(
        self, config: ArtifactConfig, own: Mapping[str, Tensor], origin: Snapshot | None = None
    ) -> MetaStyle:
        """A style of this base; the tensors that it does not own are the base's."""
        return type(self)(config, {**self.base._parameters, **own}, self.base, origin=origin)

    # ---- stylize

    @overload
    def stylize(
        self, content: Tensor, *, styles: Sequence[StyleLike] | None = None, **options: Unpack[_StylizeOptions]
    ) -> Tensor: ...
    @overload
    def stylize(
        self, content: list[Any], *, styles: Sequence[StyleLike] | None = None, **options: Unpack[_StylizeOptions]
    ) -> list[Any]: ...
    @overload
    def stylize(
        self,
        content: Image.Image | str | os.PathLike[str] | npt.NDArray[Any],
        *,
        styles: Sequence[StyleLike] | None = None,
        **options: Unpack[_StylizeOptions],
    ) -> Image.Image: ...
    def stylize(
        self,
        content: Any,
        *,
        strength: float = 1.0,
        size: int | None = None,
        stroke_scale: float | None = None,
        preserve_color: bool = False,
        mask: ImageLike | Sequence[ImageLike] | None = None,
        feather: float = 0.02,
        backend: str = "auto",
        styles: Sequence[StyleLike] | None = None,
    ) -> Any:
        """Stylize an image. The output is upright and has the size of the input.

        Args:
            content: a path, URL, PIL image or array gives a PIL image (alpha is kept); a tensor (3, H, W) or
                (B, 3, H, W) in [0, 1], or uint8, gives a float tensor of that shape; a list gives a list.
            strength: 1 is the style, up to 1.5 more of it (extrapolation), 0 the base, which reproduces usual photos
                almost exactly. Photos of low contrast change more, since instance norms amplify them (16 to 19 dB at a
                tenth of the contrast).
            size: pixels of the output's short side; None for that of the input.
            stroke_scale: width of strokes and shapes, 1 (that of the network, in pixels) to 16. None is 1 up to 512
                pixels of the short side, and keeps the width relative to the image from there on.
            preserve_color: take only the lightness from the stylized image, the color from the input.
            mask: an image that is white where to stylize, of any size; the rest stays. With `styles`, a mask for each.
            feather: width of the soft edges of masks, as a share of the short side.
            backend: of the convolutions: "auto" for the fastest of this machine, or "reference", "direct", "winograd",
                which give the same image up to rounding (`networks.backends`).
            styles: styles of this base, or folders or repos of such. With masks, one for each region; without, one for
                each image of a list or batch. On an accelerator, images of one size go through the network together.

        Raises:
            ImageError: for an image that cannot be used.
            SettingError: for a strength outside [0, 1.5], another size or stroke scale, or styles that do not fit.
            DeviceError: if memory runs out.

        >>> style.stylize("photo.jpg", strength=0.6).save("out.png")
        >>> first, second = base.stylize(["a.jpg", "b.jpg"], styles=[wave, glass])
        """
        config = StylizationConfig(size, stroke_scale, preserve_color, backend)
        several = isinstance(content, list | tuple)
        if mask is not None:
            if several:
                raise SettingError("mask= is for one image; call stylize for each image of the list.")
            chosen = [self] if styles is None else [self._of_this_base(style) for style in styles]
            masks = list(mask) if isinstance(mask, list | tuple) else [mask]
            regions = [style._parameters_at(strength) for style in chosen]
            return stylize_regions(self._network, regions, content, masks, config, feather=feather)
        if styles is None:
            contents = list(content) if several else [content]
            parameters = [self._parameters_at(strength)] * len(contents)
        else:
            batch = isinstance(content, Tensor) and content.ndim == 4
            if not (several or batch):
                raise SettingError("styles= needs a list or a batch of images; call style.stylize(image) for one.")
            contents = list(content)
            parameters = [self._of_this_base(style)._parameters_at(strength) for style in styles]
        stylized = stylize(self._network, parameters, contents, config)
        if styles is not None and isinstance(content, Tensor):
            return torch.stack(stylized) if stylized else torch.empty(content.shape, device=content.device)
        return stylized if several else stylized[0]

    def stylize_video(
        self, source: str | os.PathLike[str], target: str | os.PathLike[str], **options: Unpack[_VideoOptions]
    ) -> Path:
        """Stylize a video or an animation into a file; arguments as in `stylize_video_iter`.

        >>> style.stylize_video("walk.mp4", "stylized.mp4", size=360)
        PosixPath('stylized.mp4')
        """
        for _ in self.stylize_video_iter(source, target, **options):
            pass
        return expanded(target)

    def stylize_video_iter(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        strength: float = 1.0,
        size: int | None = None,
        stroke_scale: float | None = None,
        preserve_color: bool = False,
        backend: str = "auto",
        max_frames: int | None = None,
        config: VideoConfig | None = None,
    ) -> Iterator[VideoStep]:
        """Stylize a video frame by frame, with temporal smoothing. A caller may stop at any time and keeps the frames.

        Args:
            source: a video (needs the extra `video`), an animated .gif, .webp, .png or .avif; or "-" for stdin.
            target: .mp4, .m4v, .mov or .mkv, with the audio of the source; .gif, .webp, .png, .avif; or "-" for stdout.
            strength: see `stylize`.
            size: pixels of the short side; None for that of the source.
            stroke_scale, preserve_color, backend: see `stylize`.
            max_frames: stop after so many frames.
            config: temporal smoothing and compression.

        Raises:
            VideoError: for a video that cannot be read or written.
            SettingError: for a strength outside [0, 1.5], another size or stroke scale, or a number of frames below 1.
            DeviceError: while iterating, if memory runs out.

        Example::

            for step in style.stylize_video_iter("walk.mp4", "stylized.mp4"):
                print(step.index, step.count)
        """
        of_frames = StylizationConfig(size, stroke_scale, preserve_color, backend).replace(size=None)
        parameters = [self._parameters_at(strength)]

        def stylize_frame(frame: Tensor) -> Tensor:
            return stylize(self._network, parameters, [frame], of_frames)[0]

        return stylize_video(stylize_frame, source, target, config, size=size, max_frames=max_frames)

    # ---- inspect and convert

    @property
    def is_base(self) -> bool:
        """Whether this is a base rather than a style."""
        return self.config.kind == "base"

    @property
    def name(self) -> str:
        """The name that its author gave it, or "base" or "style"."""
        return self.config.name or ("base" if self.is_base else "style")

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters: 64 hexadecimal digits."""
        return fingerprint(self._parameters)

    def state_dict(self) -> Parameters:
        """Return the parameters of the whole network by name, in float32.

        The tensors are not copies: a style shares with its base what it did not train. Do not modify them in place.
        """
        return dict(self._parameters)

    def num_parameters(self, only_own: bool = False) -> int:
        """Return the number of parameters, of the whole network or of those that a style stores itself.

        >>> MetaStyle.from_pretrained().num_parameters()
        1679235
        """
        return sum(p.numel() for p in (self._own_parameters if only_own else self._parameters).values())

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: str | torch.dtype | None = None
    ) -> MetaStyle:
        """Return the same style on another device or with another dtype; None leaves either unchanged.

        Raises:
            DeviceError: for a device or dtype that is not available.

        Example::

            style.to("cuda", torch.bfloat16), style.to("bfloat16")
        """
        if isinstance(device, torch.dtype) or isinstance(getattr(torch, str(device), None), torch.dtype):
            device, dtype = None, device if dtype is None else dtype  # to("bfloat16")
        placement = self.device if device is None else resolve_device(device), resolve_dtype(dtype or self.dtype)
        if placement == (self.device, self.dtype):
            return self
        if (copy := self._copies.get(placement)) is not None:
            return copy
        where, arithmetic = placement
        base = None if self.base is self else self.base.to(where, arithmetic)
        parameters = {
            name: p.to(where) if base is None or p is not self.base._parameters[name] else base._parameters[name]
            for name, p in self._parameters.items()
        }
        predictor = self.predictor and {name: p.to(where) for name, p in self.predictor.items()}
        copy = type(self)(self.config, parameters, base, origin=self.origin, dtype=arithmetic, predictor=predictor)
        copy._artifact = self._artifact
        self._copies[placement] = copy
        return copy

    def renamed(self, name: str) -> MetaStyle:
        """Return the same style under another name."""
        model = type(self)(
            replace(self.config, name=name), self._parameters, None if self.is_base else self.base,
            origin=self.origin, dtype=self.dtype, predictor=self.predictor,
        )  # fmt: skip
        model._artifact = self._artifact
        return model

    def __repr__(self) -> str:
        steps = "interpolated" if self.config.steps is None else f"{self.config.steps} steps"
        kind = "base" if self.is_base else f"style of {self.config.trainable} parameters, {steps}"
        return f"{type(self).__name__}({self.name!r}, {kind}, on {self.device})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MetaStyle):
            return NotImplemented
        mine, theirs = self.config, other.config
        return (
            (mine.kind, mine.architecture, mine.output_activation)
            == (theirs.kind, theirs.architecture, theirs.output_activation)
            and self.fingerprint == other.fingerprint
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_copies": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = {**state, "_copies": WeakValueDictionary()}

    def _repr_png_(self) -> bytes:
        """Show an example image in this style, in a notebook."""
        file = io.BytesIO()
        self.stylize(example("temple"), size=_PREVIEW_SIZE).save(file, "PNG")
        return file.getvalue()

    @property
    def _network(self) -> TransformerNet:
        return thread_network(self.config.architecture, self.config.output_activation, self.dtype)

    @property
    def _own_parameters(self) -> Parameters:
        """The parameters that the file of this style stores; the others are the base's."""
        return self._parameters if self.is_base else trainable_parameters(self._parameters, self.config.trainable)

    def _to_artifact(self) -> Artifact:
        return Artifact(self.config, self._own_parameters, self.predictor)

    @property
    def _reference(self) -> BaseReference:
        """How a style adapted from this names its base."""
        if not self.is_base and self.config.base_model is not None:
            return self.config.base_model
        origin, number = self.base.origin, self.base.fingerprint
        if origin is None:
            return BaseReference(number, "unshared")
        if origin.folder == EMBEDDED:
            return BaseReference(number)
        return BaseReference(number, origin.repo_id or str(origin.folder.resolve()), origin.commit)

    def _parameters_at(self, strength: float) -> Parameters:
        """The interpolation between the base's parameters, at 0, and these, at 1, or the extrapolation beyond."""
        number = isinstance(strength, numbers.Real) and not isinstance(strength, bool) and math.isfinite(strength)
        if not number or not 0 <= strength <= _MAX_STRENGTH:
            raise SettingError(f"strength must be a number from 0 to {_MAX_STRENGTH}, got {strength!r}.")
        if strength == 1:
            return self._parameters
        own = self._own_parameters
        of_base = {name: self.base._parameters[name] for name in own}
        mixed = interpolate_parameters([own, of_base], [strength, 1 - strength], convex=False)
        return {**self.base._parameters, **mixed}

    def _of_this_base(self, style: StyleLike) -> MetaStyle:
        model = style if isinstance(style, MetaStyle) else self.load_style(style)
        if model.base.fingerprint != self.base.fingerprint:
            raise SettingError(f"{model.name} is a style of another base; call its own stylize.")
        return model.to(self.device, self.dtype)


StyleLike = MetaStyle | str | os.PathLike[str]
"""A style, or a folder or Hub repo that `MetaStyle.from_pretrained` loads."""

_BASE_MODELS: WeakValueDictionary[int, MetaStyle] = WeakValueDictionary()  # by the id of their artifact


def interpolate(
    styles: Sequence[StyleLike], weights: Sequence[float] | None = None, *, convex: bool = True
) -> MetaStyle:
    """Interpolate styles of one base: the convex combination of their parameters.

    Args:
        styles: styles, or folders or Hub repos of styles; a base counts as no style.
        weights: one for each, >= 0, summing to 1; None for equal weights. (1, 0) gives the first style bit for bit.
        convex: False allows weights below 0: (1.3, -0.3) moves away from the second style.

    Raises:
        InterpolationError: for other weights, or styles of different bases.
        ArtifactError: for a folder or repo that holds no style.
        HubError: if the Hub or the network fails.

    >>> mix = interpolate([starry, "me/wave"], [0.3, 0.7])
    """
    if isinstance(styles, str | os.PathLike | MetaStyle):
        raise InterpolationError(f"styles must be a list of styles, got {styles!r}.")
    values = check_weights(weights, len(styles), convex=convex)
    models = [_as_model(style) for style in styles]
    first = models[0]
    for other in models[1:]:
        if other.base.fingerprint != first.base.fingerprint:
            raise InterpolationError(
                f"{first.name} and {other.name} were adapted from different bases ({first.base.fingerprint[:12]}, "
                f"{other.base.fingerprint[:12]}); interpolate styles of one base."
            )
    adapted = [model for model in models if not model.is_base]
    known = (adapted or [first])[0]  # a base made here has no origin, but its styles may name one
    trainable = largest_trainable(model.config.trainable for model in adapted)
    own = [trainable_parameters(model.to(first.device)._parameters, trainable) for model in models]
    described = known._style_config(
        name=_mix_name(models, values),
        trainable=trainable,
        feature_extractor=known.config.feature_extractor,
        mix=[{"name": model.name, "weight": w} for model, w in zip(models, values, strict=True)],
    )
    return first._new_style(described, interpolate_parameters(own, values, convex=convex))


def _as_model(style: StyleLike) -> MetaStyle:
    return style if isinstance(style, MetaStyle) else MetaStyle.from_pretrained(style)


def _mix_name(models: Sequence[MetaStyle], weights: Sequence[float]) -> str:
    """Weights and names, cut off: the names of mixes of mixes would double each time."""
    name = " + ".join(f"{w:.0%} {m.name}" for m, w in zip(models, weights, strict=True) if w)
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _adaptation_config(config: AdaptationConfig | None, options: Mapping[str, Any]) -> AdaptationConfig:
    if not isinstance(config, AdaptationConfig | None):
        raise SettingError(f"config must be an AdaptationConfig, got {config!r}.")
    return (config or AdaptationConfig()).replace(**options)
