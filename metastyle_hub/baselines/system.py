"""What all systems of Table 1 have in common: `prepare` a style once, `transfer` it to images, count parameters.

The systems that decode features share two parts. `vgg19_encoder` is the encoder at the published size; `compact` takes
its place where quality is compared on small networks. `mirrored_decoder` mirrors VGG-19 from a level, which both have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from metastyle_hub.devices import at_least_float32
from metastyle_hub.images.transforms import crop_back, pad_to_multiple
from metastyle_hub.networks.feature_extractor import FeatureExtractor, FeatureSpec
from metastyle_hub.networks.layers import ReflectionConv2d

__all__ = [
    "Baseline",
    "maps_of",
    "mirrored_decoder",
    "relative_distance",
    "total_count",
    "vgg19_encoder",
    "vgg19_stages",
]

_STAGES = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
Style = TypeVar("Style")


class Baseline(nn.Module, ABC, Generic[Style]):
    """A system that brings the style of one image to another; images are (B, 3, H, W) in [0, 1].

    Example::

        system = AdaIN(load_feature_extractor("compact"))
        stylized = system.stylize(content, style)
    """

    multiple = 4  # that the sides of a content image are padded to

    @abstractmethod
    def prepare(self, style: Tensor) -> Style:
        """Return what the system keeps of a style image (1, 3, H, W): all work that later images save."""

    @abstractmethod
    def transfer(self, content: Tensor, style: Style) -> Tensor:
        """Stylize content images whose sides are multiples of `multiple`."""

    def training_loss(self, contents: Tensor, styles: Tensor) -> Tensor:
        """Return the objective of training on a batch of content and a batch of style images, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to train.")

    @torch.no_grad()
    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        """Stylize content images (B, 3, H, W) of any size by a style image (1, 3, H', W')."""
        return self.stylize_prepared(content, self.prepare(style))

    @torch.no_grad()
    def stylize_prepared(self, content: Tensor, style: Style) -> Tensor:
        """Stylize content images (B, 3, H, W) of any size by a prepared style."""
        padded, padding = pad_to_multiple(content, self.multiple)
        return crop_back(self.transfer(padded, style).clamp(0, 1), padding)

    def parameter_count(self) -> int:
        """Return the number of parameters as the paper's Table 1 counts them: with encoders, trained or not."""
        return total_count(self)

    def trained_state(self) -> dict[str, Tensor]:
        """Return the trained tensors by name, without encoders that were given."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Load what `trained_state` gave.

        Raises:
            KeyError: if a tensor is missing; one that is too many or of another shape raises a RuntimeError.
        """
        own = self.trained_state()
        self.load_state_dict({**self.state_dict(), **state, **{name: state[name] for name in own}}, strict=True)


def mirrored_decoder(level: int, *, norm: bool = False) -> nn.Sequential:
    """Return a decoder of features at level k (relu{k}_1 of VGG-19, or the tap of `compact` of that width) to images.

    The mirror of VGG-19: 3x3 convolutions with reflection padding, ReLU after each but the last, nearest upsampling
    where the encoder pools. It has one part for each convolution, the deepest first.

    Args:
        level: 1 to 5.
        norm: whether an instance norm without parameters follows each convolution but the last.

    >>> mirrored_decoder(2)(torch.rand(1, 128, 16, 16)).shape
    torch.Size([1, 3, 32, 32])
    """
    stages = vgg19_stages(level)
    widths = [3, *(width for stage in stages for width in stage)]
    firsts = [1 + sum(map(len, stages[:s])) for s in range(1, level)]  # that follow a pooling in the encoder
    parts: list[nn.Module] = []
    for index in range(len(widths) - 1, 0, -1):
        layers: list[nn.Module] = [ReflectionConv2d(widths[index], widths[index - 1], 3)]
        if index > 1:
            layers += [nn.InstanceNorm2d(widths[index - 1])] * norm + [nn.ReLU()]
        if index in firsts:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
        parts.append(nn.Sequential(*layers))
    return nn.Sequential(*parts).to(memory_format=torch.channels_last)


def vgg19_stages(level: int) -> tuple[tuple[int, ...], ...]:
    """Return the widths of the convolutions of VGG-19 up to relu{level}_1, stage by stage.

    >>> vgg19_stages(2)
    ((64, 64), (128,))
    """
    return *_STAGES[: level - 1], _STAGES[level - 1][:1]


def vgg19_encoder(level: int) -> FeatureExtractor:
    """Return VGG-19 up to relu{level}_1 with random weights, the published size; its style taps are the levels.

    >>> total_count(vgg19_encoder(4))
    3505728
    """
    taps = tuple(f"relu{s}_1" for s in range(1, level + 1))
    spec = FeatureSpec(vgg19_stages(level), taps[-1], taps, padding="reflect")
    return FeatureExtractor(spec, f"vgg19 to {taps[-1]}")


def total_count(module: nn.Module) -> int:
    """Return the number of parameters of a module; shared ones count once."""
    return sum(p.numel() for p in module.parameters())


def relative_distance(x: Tensor, target: Tensor) -> Tensor:
    """Return |x - target|^2 / |target|^2 per image, mean over the batch: a scalar, as the terms of `losses`."""
    difference, energy = (at_least_float32(t).square().flatten(1).sum(1) for t in (x - target, target))
    return (difference / (energy + 1e-8)).mean()


def maps_of(encoder: FeatureExtractor, images: Tensor) -> list[Tensor]:
    """Return the feature maps at all levels, the shallowest first: (B, C_k, H_k, W_k) each."""
    found = encoder(images, encoder.spec.style_taps)
    return [found[tap] for tap in encoder.spec.style_taps]
