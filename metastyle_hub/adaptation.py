"""Adaptation: the inner problem at deployment. From the base, a stream of gradient steps towards one style.

    w_0 = theta,   w_t = Adam step on E_c [ log loss(c, s, M(c; w_{t-1})) ] + outliers(w_{t-1}),   t = 1 ... steps

This is the inner loop of MAML (Finn et al. 2017) at test time. `trainable="norm"` adapts what the inner loop of
meta-training adapts (as ANIL, Raghu et al. 2020, adapts only the head). If the base has a style predictor, the first
step starts from its prediction instead of theta. `AdaptationConfig.paper()` is the paper's own setting: all
parameters, plain content and style losses, no prediction.

Gradients of few crops are noisy, so every step shows the moving average of the parameters so far (Polyak and Juditsky
1992); its window closes towards the last step, whose learning rate is small. Stopped at step 20 of 50, a style has a
loss 5% lower than without.

Everything here is a pure function of parameters: neither the network nor theta changes, and every step is a usable
style, so that a caller may stop at any time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.adam import adam

from metastyle_hub.config import Config, option
from metastyle_hub.data.content import ContentImages, content_dataset
from metastyle_hub.data.datasets import CropConfig, ImageDataset, check_crop_scales, random_crops
from metastyle_hub.devices import training_dtype
from metastyle_hub.errors import AdaptationError, SettingError
from metastyle_hub.images.io import ImageLike, combined_sha256, load_image_with_sha256, to_tensor
from metastyle_hub.images.masks import masked
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.images.transparency import visible_box
from metastyle_hub.losses import MAX_STYLE_SCALES, LossWeights, PerceptualLoss, outlier_penalty
from metastyle_hub.networks.backends import fast_gradients
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.networks.layers import random_noise_offset
from metastyle_hub.networks.param_groups import (
    TRAINABLE,
    Parameters,
    is_decoder_parameter,
    is_norm_parameter,
    trainable_parameters,
)
from metastyle_hub.networks.schedules import average_decay, cosine_decay
from metastyle_hub.networks.style_predictor import StylePredictor
from metastyle_hub.networks.transformer_net import transform_with_activations

__all__ = [
    "ADAM_BETAS",
    "AdaptationConfig",
    "AdaptationOptions",
    "AdaptationStep",
    "AdaptationTask",
    "adapt_parameters",
    "load_style_images",
    "mean_style_grams",
    "predicted_initialization",
    "style_tensor",
]

# of Adam: with the usual 0.999 the large first gradients would shrink all of a hundred steps
ADAM_BETAS = (0.9, 0.99)
_EPS = 1e-8
_MAX_ASPECT = 4  # of a style image; a longer one is cropped to its center


@dataclass(frozen=True)
class AdaptationConfig(Config):
    """How a style is adapted. The defaults were chosen by evaluation (docs/experiments.md)."""

    steps: int = option(100, "gradient steps; 100 to 200 in the paper", low=0, high=1000)
    trainable: str = option(
        "decoder",
        "parameters to train: norm, the instance norms (13 kB); decoder, these and the decoder's convolutions "
        "(0.4 MB); or all (7 MB)",
        choices=TRAINABLE,
    )
    style_size: int = option(
        256, "pixels of the style image's short side; smaller gives finer strokes", low=32, high=1024
    )
    seed: int = option(0, "of the content crops", low=0)
    use_predictor: bool = option(True, "whether the first step starts from the base's predicted initialization")
    learning_rate: float = option(1e-3, "of Adam on convolutions", low=0, high=1, advanced=True)
    norm_learning_rate: float = option(3e-2, "of Adam on norm parameters", low=0, high=1, advanced=True)
    warmup_steps: int = option(
        30, "steps of linear warmup of the learning rate on convolutions", low=0, high=1000, advanced=True
    )
    final_lr_ratio: float = option(
        0.1, "final learning-rate ratio, at the end of a cosine decay", low=0, high=1, advanced=True
    )
    freeze_encoder_after: float = option(
        0.5,
        "with trainable=decoder: the share of the steps after which all norms before the decoder are frozen; frozen "
        "steps are a fifth faster",
        low=0,
        high=1,
        advanced=True,
    )
    ema_decay: float = option(
        0.9,
        "decay of the moving average of the parameters, which every step but the last shows; 0 for none",
        low=0,
        high=0.999,
        advanced=True,
    )
    crop_size: int = option(
        128, "pixels a side of the content crops, a multiple of 4", low=64, high=1024, multiple=4, advanced=True
    )
    batch_size: int = option(4, "content crops per step", low=1, high=16, advanced=True)
    min_scale: float = option(
        0.3, "smallest crop, as a share of the content image's short side", low=0.01, high=1, advanced=True
    )
    max_scale: float = option(
        0.7, "largest crop; crop_size / max_scale is the output size it trains for", low=0.01, high=1, advanced=True
    )
    outlier_weight: float = option(5.0, "weight of the activation outlier penalty", low=0, advanced=True)
    outlier_limit: float = option(2.0, "standard deviations that the outlier penalty allows", low=0, advanced=True)
    feature_extractor: str = option(
        "compact", "feature extractor of the loss", choices=("compact", "vgg16", "vgg19"), advanced=True
    )
    precision: str = option(
        "auto",
        "dtype of the arithmetic; auto is bfloat16 where the hardware has it",
        choices=("auto", "float32", "bfloat16"),
        advanced=True,
    )
    weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop_scales(self.min_scale, self.max_scale)

    @classmethod
    def quick(cls) -> AdaptationConfig:
        """Return a setting of 0.27 times the time: 50 steps of two crops; losses are 3% above those of the default.

        >>> AdaptationConfig.quick().steps
        50
        """
        return cls(steps=50, batch_size=2)

    @classmethod
    def paper(cls) -> AdaptationConfig:
        """Return the paper's setting: Adam on all parameters at 1e-3, VGG-16, four 256 px crops, two loss terms.

        >>> AdaptationConfig.paper().replace(steps=200).trainable
        'all'
        """
        return cls(
            trainable="all",
            use_predictor=False,
            norm_learning_rate=1e-3,
            warmup_steps=0,
            final_lr_ratio=1,
            ema_decay=0,
            crop_size=256,
            batch_size=4,
            min_scale=0.5,
            max_scale=1,
            outlier_weight=0,
            feature_extractor="vgg16",
            weights=LossWeights.paper(),
        )

    def lr_ratio(self, step: int) -> float:
        """Return the learning rates' share of their peak: half a cosine from 1 to `final_lr_ratio`."""
        return cosine_decay(step / max(1, self.steps - 1), self.final_lr_ratio)

    def warmup(self, step: int) -> float:
        """Return a further factor on convolutions, which would overtake the norms: linear up to 1."""
        return min(1.0, (step + 1) / max(1, self.warmup_steps))

    def decay(self, step: int) -> float:
        """Return the decay of the moving average after so many steps: small at first, and 0 at the last one."""
        remaining = max(0, self.steps - step)
        return min(average_decay(self.ema_decay, step - 1), remaining / (remaining + 1))

    def is_trained(self, name: str, step: int) -> bool:
        """Return whether a trainable parameter is updated at this step."""
        encoder = self.trainable != "decoder" or step < self.freeze_encoder_after * self.steps
        return encoder or is_decoder_parameter(name)


class AdaptationOptions(TypedDict, total=False):
    """The fields of `AdaptationConfig` as keyword arguments, so that editors complete them."""

    steps: int
    trainable: str
    style_size: int
    seed: int
    use_predictor: bool
    learning_rate: float
    norm_learning_rate: float
    warmup_steps: int
    final_lr_ratio: float
    freeze_encoder_after: float
    ema_decay: float
    crop_size: int
    batch_size: int
    min_scale: float
    max_scale: float
    outlier_weight: float
    outlier_limit: float
    feature_extractor: str
    precision: str
    weights: LossWeights


@dataclass(frozen=True)
class AdaptationStep:
    """The state after `index` gradient steps (0 is the base), with its losses on the content crops of that step."""

    index: int
    loss: float  # total
    content: float
    style: float
    parameters: Parameters  # of the whole network, detached; frozen tensors are shared by all steps: read only


@dataclass(frozen=True)
class AdaptationTask:
    """What an adaptation needs, loaded and checked: one style, the content dataset, the loss."""

    style: Sequence[Tensor]  # (1, 3, H, W) in [0, 1] each; several images of one style
    sha256: str  # of the style images
    name: str | None  # of the first style image's file
    contents: ImageDataset
    loss: PerceptualLoss
    config: AdaptationConfig  # with the dtype that "auto" stands for: another dtype gives another style

    @classmethod
    def load(
        cls,
        style_image: ImageLike | Sequence[ImageLike],
        content_images: ContentImages,
        config: AdaptationConfig,
        device: torch.device,
        style_mask: ImageLike | Sequence[ImageLike] | None = None,
    ) -> Self:
        """Load images and feature extractor, so that anything missing is reported before the first step.

        Raises:
            ImageError: for an image that cannot be used.
            SettingError: for an empty list of style images.
            FeatureExtractorError: if the feature extractor is not available.
        """
        style, sha256, name = load_style_images(style_image, config.style_size, style_mask)
        contents = content_dataset(content_images)
        dtype = training_dtype(device) if config.precision == "auto" else getattr(torch, config.precision)
        extractor = load_feature_extractor(config.feature_extractor, device=device, dtype=dtype)
        config = config.replace(precision=str(dtype).removeprefix("torch."))
        return cls(style, sha256, name, contents, PerceptualLoss(extractor, config.weights), config)


def adapt_parameters(
    network: nn.Module,
    theta: Mapping[str, Tensor],
    style: Tensor | Sequence[Tensor],
    contents: ImageDataset,
    loss: PerceptualLoss,
    config: AdaptationConfig,
    initialization: Mapping[str, Tensor] | None = None,
) -> Iterator[AdaptationStep]:
    """Adapt theta to a style: `config.steps + 1` yields, the first before any step, the last after all of them.

    Args:
        network: gives the architecture; its own parameters are not used.
        theta: the initial parameters.
        style: (1, 3, H, W) in [0, 1], or several such images of one style, whose Gram matrices are averaged.
        contents: the dataset of the content crops.
        loss: the dtype of its feature extractor is that of the arithmetic.
        config: learning rates, crops and so on.
        initialization: norm parameters that the first step starts from, see `predicted_initialization`. The first
            yield still shows theta.

    Raises:
        AdaptationError: if the loss is not finite.

    Example::

        for step in adapt_parameters(network, theta, style, contents, loss, AdaptationConfig(steps=20)):
            print(step.index, step.loss)
    """
    device = next(iter(theta.values())).device
    with torch.inference_mode(False):  # inference mode of the caller would make tensors that cannot require gradients
        weights: Parameters = {name: p.detach().clone() for name, p in theta.items()}
        grams = mean_style_grams(loss, style, device)
    trainable = trainable_parameters(weights, config.trainable)
    averages: Parameters = {}  # of the trainable parameters, by their moving average
    for p in trainable.values():
        p.requires_grad_()
    optimizer = _Adam()
    crops = CropConfig(config.crop_size, config.min_scale, config.max_scale)

    def evaluate(index: int, *, differentiable: bool) -> tuple[Tensor, AdaptationStep]:
        """Return the objective on the crops of a step, and the step."""
        rng = np.random.default_rng((config.seed, index))
        decoder_only = all(is_decoder_parameter(name) for name in trainable if config.is_trained(name, index))
        with torch.inference_mode(False), torch.set_grad_enabled(differentiable), fast_gradients():
            batch = random_crops(contents, config.batch_size, crops, rng).to(device)  # (B, 3, size, size)
            offset = random_noise_offset(rng)
            output = transform_with_activations(network, weights, batch, loss.dtype, offset, decoder_only=decoder_only)
            terms = loss(output.images, loss.targets(batch, grams))
            # the logarithm, as in meta-training: steps do not shrink as the loss falls
            objective = terms[0].log().mean()
            if config.outlier_weight and differentiable:
                objective = objective + config.outlier_weight * _varying_outliers(output.activations, config)
            shown = averages if index else weights  # the first yield shows theta
            snapshot = {n: shown[n].detach().clone() if n in trainable else p.detach() for n, p in weights.items()}
        total, content, style_term = (float(t.detach().mean()) for t in terms)
        if not math.isfinite(total):
            raise AdaptationError(
                f"The loss is {total} at step {index} (content_weight {config.weights.content_weight:g}, "
                f"style_weight {config.weights.style_weight:g}, learning_rate {config.learning_rate:g}, "
                f"norm_learning_rate {config.norm_learning_rate:g}); lower one of them."
            )
        return objective, AdaptationStep(index, total, content, style_term, snapshot)

    for index in range(config.steps + 1):
        predicted = initialization if index == 0 and config.steps else None
        objective, step = evaluate(index, differentiable=index < config.steps and predicted is None)
        yield step
        if index == config.steps:
            return
        if predicted is not None:
            with torch.inference_mode(False), torch.no_grad():
                for name, value in predicted.items():
                    weights[name].copy_(value)
            objective, _ = evaluate(index, differentiable=True)
        # the caller's inference mode may differ from yield to yield; Adam's state must not
        with torch.inference_mode(False):
            trained = {name: p for name, p in trainable.items() if config.is_trained(name, index)}
            gradients = torch.autograd.grad(objective, list(trained.values()))
            ratio = config.lr_ratio(index)
            rates = {
                True: ratio * config.norm_learning_rate,
                False: ratio * config.warmup(index) * config.learning_rate,
            }
            for (name, p), gradient in zip(trained.items(), gradients, strict=True):
                optimizer.step(name, p, gradient, rates[is_norm_parameter(name)])
            for name, p in trainable.items():
                average = averages.setdefault(name, p.detach().clone())
                average.lerp_(p.detach(), 1 - config.decay(index + 1))


class _Adam:
    """Adam (Kingma and Ba 2015) by torch's function; its class would import torch._dynamo, in 1 s and 118 MB."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # mean and mean square of the gradient, steps

    @torch.no_grad()
    def step(self, name: str, p: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.states.setdefault(name, (torch.zeros_like(p), torch.zeros_like(p), torch.tensor(0.0)))
        mean, square, count = ([x] for x in state)
        adam(
            [p], [gradient], mean, square, [], count, amsgrad=False, beta1=ADAM_BETAS[0], beta2=ADAM_BETAS[1], lr=rate,
            weight_decay=0.0, eps=_EPS, maximize=False,
        )  # fmt: skip


def _varying_outliers(activations: Sequence[Tensor], config: AdaptationConfig) -> Tensor:
    """Return the outlier penalty without the activations that no trained parameter changes, whose part is constant."""
    varying = [x for x in activations if x.requires_grad]
    return outlier_penalty(varying, config.outlier_limit) * (len(varying) / len(activations))


def mean_style_grams(
    loss: PerceptualLoss, style: Tensor | Sequence[Tensor], device: torch.device, scales: int | None = None
) -> tuple[Tensor, ...]:
    """Return the Gram matrices of a style, averaged over its images: (1, C_i, C_i) each.

    Args:
        loss: gives the feature extractor and the style taps.
        style: (1, 3, H, W) in [0, 1], or several such images.
        device: of the feature extractor.
        scales: see `PerceptualLoss.style_grams`.
    """
    images = [style] if isinstance(style, Tensor) else list(style)
    grams = [loss.style_grams(image.to(device), scales) for image in images]
    return grams[0] if len(grams) == 1 else tuple(torch.stack(tap).mean(0) for tap in zip(*grams, strict=True))


def predicted_initialization(
    predictor: Parameters, feature_extractor: str, theta: Parameters, style: Tensor | Sequence[Tensor]
) -> Parameters:
    """Return the norm parameters that a base's predictor gives for a style (1, 3, H, W) in [0, 1].

    It is always computed in float32, so that it does not depend on the arithmetic of the steps that follow.

    Args:
        predictor: the `state_dict` of a `StylePredictor`.
        feature_extractor: the name of the one that the predictor was trained with.
        theta: the parameters of the base.
        style: one image, or several of one style.
    """
    device = next(iter(theta.values())).device
    extractor = load_feature_extractor(feature_extractor, device=device)
    with torch.device("meta"):  # without values, and so without a draw from the caller's generator
        network = StylePredictor(extractor.spec.gram_channels, MAX_STYLE_SCALES, theta)
    network.load_state_dict(predictor, assign=True)
    with torch.inference_mode(False):
        grams = mean_style_grams(PerceptualLoss(extractor), style, device, MAX_STYLE_SCALES)
        return network.initialization(theta, grams)


def load_style_images(
    style_image: ImageLike | Sequence[ImageLike], size: int, mask: ImageLike | Sequence[ImageLike] | None = None
) -> tuple[list[Tensor], str, str | None]:
    """Load one or several images of a style.

    Args:
        style_image: the image, or a list.
        size: pixels of the short side.
        mask: white where the image shows the style; one mask, or one for each image.

    Returns:
        tensors (1, 3, H, W) in [0, 1], a SHA-256 of all images, and the name of the first one's file, if it is one.

    Raises:
        ImageError: for an image that cannot be used.
        SettingError: for an empty list, or another number of masks than of images.
    """
    images: list[Any] = list(style_image) if isinstance(style_image, list | tuple) else [style_image]
    if not images:
        raise SettingError("There is no style image; pass at least one.")
    loaded = [load_image_with_sha256(image) for image in images]
    if mask is not None:
        masks: list[Any] = list(mask) if isinstance(mask, list | tuple) else [mask]
        if len(masks) != len(images):
            raise SettingError(f"There are {len(masks)} masks for {len(images)} style images; pass one for each.")
        loaded = [(masked(image, m), sha) for (image, sha), m in zip(loaded, masks, strict=True)]
    name = Path(images[0]).stem if isinstance(images[0], str | os.PathLike) else None
    return [style_tensor(image, size) for image, _ in loaded], combined_sha256([sha for _, sha in loaded]), name


def style_tensor(image: Image.Image, size: int) -> Tensor:
    """Return a style image as (1, 3, H, W) in [0, 1] with a short side of `size` pixels.

    Of an image with transparency the visible part is used, with reflections of it where that is no rectangle. Small
    images are enlarged, so that every tap has features. Of an image more than four times as long as wide the
    center is used, since all of it would be enlarged without bound.
    """
    if image.mode == "RGBA":
        image = image.crop(visible_box(image.getchannel("A")))
    images = to_tensor(image)
    height, width = images.shape[-2:]
    if max(height, width) > _MAX_ASPECT * min(height, width):
        side = _MAX_ASPECT * min(height, width)
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        images = images[..., top : top + side, left : left + side]
    return resize_short_side(images, size)
