"""Adaptation as users ask for it: pictures and photos in, described parameters of a style out, step by step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig, AdaptationStep, adapt_parameters
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.contents import Contents, content_pool
from metastyle_hub.data import ImagePool
from metastyle_hub.devices import enough_memory, training_dtype
from metastyle_hub.features import load_features
from metastyle_hub.images import ImageLike, image_sha256, load_image
from metastyle_hub.loss import SCALES, PerceptualLoss
from metastyle_hub.painting import style_tensor
from metastyle_hub.parameters import Parameters, moving_parameters, widest
from metastyle_hub.prediction import StylePredictor, gram_channels
from metastyle_hub.skeletons import new_skeleton

__all__ = ["Lesson", "learn", "predicted_start"]


@dataclass(frozen=True)
class Lesson:
    """What is to be learned, read and checked."""

    style: Tensor  # (1, 3, H, W) in [0, 1]
    sha256: str  # of the style picture
    name: str | None
    contents: ImagePool
    config: AdaptationConfig

    @classmethod
    def of(cls, style: ImageLike, contents: Contents, config: AdaptationConfig) -> Lesson:
        """Read the pictures.

        Raises:
            ImageError: a picture that cannot be used.
        """
        file = style if isinstance(style, str | os.PathLike) else None
        picture = load_image(style)
        return cls(
            style=style_tensor(picture, config.style_size),
            sha256=image_sha256(picture if file is None else file),
            name=None if file is None else Path(file).stem,
            contents=content_pool(contents),
            config=config,
        )


def learn(
    lesson: Lesson,
    start: ArtifactConfig,
    theta: Parameters,
    base: Parameters,
    reference: BaseReference,
    predictor: Parameters | None = None,
) -> Iterator[tuple[AdaptationStep, ArtifactConfig, Parameters]]:
    """Every step of the adaptation, with the style as it stands: what describes it, and all of its parameters.

    What the adaptation needs is loaded at once, so that what is missing shows before the first step.

    Args:
        start: describes what is adapted: the base, or a style of it whose steps count on.
        theta: the parameters of that.
        base: those of the base, which the style shares as far as it does not move them.
        predictor: the base's, where the first step begins; None for a step from theta.

    Raises:
        FeaturesError: at once, the feature network cannot be had.
        AdaptationError: the loss is not finite.
        DeviceError: the memory of the device does not suffice.
    """
    device = next(iter(theta.values())).device
    dtype = training_dtype(device) if lesson.config.precision == "auto" else getattr(torch, lesson.config.precision)
    # recorded as what "auto" came to: another machine would choose another arithmetic, and so make another style
    config = replace(lesson.config, precision=str(dtype).removeprefix("torch."))
    loss = PerceptualLoss(load_features(config.features, device=device, dtype=dtype), config.weights)
    less = "a smaller size or style_size, or batch=1"
    guess: Parameters | None = None
    if predictor and config.predict:
        with enough_memory("adaptation", device, less):
            guess = predicted_start(predictor, start.features, theta, lesson.style)
    further = start.kind == "style"
    # a style of a style is again a style of the base, which owns what any of its steps moved
    kind = widest([config.parameters, *([start.parameters] if further else [])])
    described = ArtifactConfig(
        kind="style",
        architecture=start.architecture,
        output=start.output,
        name=lesson.name,
        parameters=kind,
        base_model=reference,
        adaptation=config.to_dict(),
        style_sha256=lesson.sha256,
        features=config.features,
    )
    before = (start.steps or 0) if further else 0
    # its own network, since whoever consumes the steps may do so from one thread after another
    network = new_skeleton(start.architecture, start.output or "sigmoid")

    def steps() -> Iterator[tuple[AdaptationStep, ArtifactConfig, Parameters]]:
        with enough_memory("adaptation", device, less):
            for step in adapt_parameters(network, theta, lesson.style, lesson.contents, loss, config, guess):
                moved = {**base, **moving_parameters(step.parameters, kind)}
                yield step, replace(described, steps=before + step.index), moved

    return steps()


def predicted_start(predictor: Parameters, reads: str, theta: Parameters, style: Tensor) -> Parameters:
    """The scales and shifts that a base's predictor guesses for a style picture (1, 3, H, W) in [0, 1].

    Always in float32, so that the guess does not depend on the arithmetic of the steps that follow.

    Args:
        reads: the feature network whose Gram matrices it reads.

    >>> start = predicted_start(base.predictor, base.config.features, base.parameters, style)
    """
    device = next(iter(theta.values())).device
    features = load_features(reads, device=device)
    with torch.device("meta"):  # without numbers of its own, and so without a draw from the caller's random ones
        network = StylePredictor(gram_channels(features.spec), theta)
    network.load_state_dict(predictor, assign=True)
    with torch.inference_mode(False):
        return network.start(theta, PerceptualLoss(features).style_grams(style.to(device), SCALES))
