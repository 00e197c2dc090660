"""Style prediction: where the gradient steps of an adaptation begin, guessed from the style's Gram matrices.

    phi_0(s) = phi_0 + P(G_1(s), G_2(s), ...)            scales and shifts; w_1 is a gradient step from there

A hundred gradient steps from the style-free theta spend their first twenty on what could have been known: that a
style with such Gram matrices needs about such scales and shifts. P is a small network that learned it from many
styles. Ghiasi et al. 2017 predict scales and shifts likewise, from the style's picture, and leave it at that; here it
is a first guess, and the gradient steps go on from it. Its input is what the loss compares, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from metastyle_hub.features import FeatureSpec
from metastyle_hub.loss import SCALES
from metastyle_hub.parameters import Parameters, norm_parameters

__all__ = ["StylePredictor", "gram_channels"]

_DIRECTIONS = (64, 96, 128)  # of a Gram matrix whose energies P looks at, tap by tap; no more than it has channels
_COARSE_DIRECTIONS = (32, 48, 64)  # the same at the smaller scales
_HIDDEN = 256
_FAR = 4.0  # standard deviations: a style further out, such as one of a single colour, is taken for one there
_EPS = 1e-3  # of the mean energy: directions that a style has nothing of are all the same


def gram_channels(spec: FeatureSpec) -> tuple[int, ...]:
    """The sizes C_i of the Gram matrices (C_i, C_i) that a feature network gives at one scale, tap by tap."""
    stages = {f"relu{s}_{c}": n for s, stage in enumerate(spec.stages, 1) for c, n in enumerate(stage, 1)}
    return tuple((stages | dict(spec.heads))[tap] for tap in spec.style_taps)


class StylePredictor(nn.Module):
    """P: Gram matrices (B, C_i, C_i) -> what to add to theta's scales and shifts, (B, C) by name. New ones add nothing.

    The matrices are those of `SCALES` sizes, tap by tap, the largest first. Of each, G, it sees the energies w^T G w
    along some learned directions w, relative to the mean energy, and that mean, all as logarithms; two hidden layers
    follow.

    Args:
        channels: sizes of the Gram matrices of one scale; see `gram_channels`. P reads those of all `SCALES`.
        parameters: of the network; the names and shapes of its scales and shifts.

    >>> predictor = StylePredictor(gram_channels(loss.features.spec), theta)
    >>> start = predictor.start(theta, loss.style_grams(style, SCALES))
    """

    def __init__(self, channels: Sequence[int], parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.sizes = {name: len(p) for name, p in norm_parameters(parameters).items()}
        counts: list[int] = []
        for wanted in (_DIRECTIONS, *(SCALES - 1) * [_COARSE_DIRECTIONS]):
            deeper = len(channels) * wanted[-1:]
            counts += [min(n, c) for n, c in zip((*wanted, *deeper), channels, strict=False)]
        self.directions = nn.ParameterList(
            nn.Parameter(torch.randn(n, c) / c**0.5) for n, c in zip(counts, SCALES * tuple(channels), strict=True)
        )
        seen = sum(counts) + len(counts)
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("std", torch.ones(seen))
        self.mean: Tensor
        self.std: Tensor
        self.hidden = nn.Sequential(nn.Linear(seen, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _HIDDEN), nn.GELU())
        self.out = nn.Linear(_HIDDEN, sum(self.sizes.values()))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, grams: Sequence[Tensor]) -> Parameters:
        """What to add to every scale and shift, by name: (B, C) each."""
        seen = ((self.energies(grams) - self.mean) / self.std).clamp(-_FAR, _FAR)  # (B, E)
        parts = self.out(self.hidden(seen)).split(list(self.sizes.values()), dim=-1)
        return dict(zip(self.sizes, parts, strict=True))

    def energies(self, grams: Sequence[Tensor]) -> Tensor:
        """What P sees of Gram matrices, before it is standardised: (B, E)."""
        seen = []
        for gram, directions in zip(grams, self.directions, strict=True):
            mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True) + 1e-8  # (B, 1)
            along = ((directions @ gram) * directions).sum(-1) / mean  # (B, directions)
            seen += [(along + _EPS).log(), mean.log()]
        return torch.cat(seen, -1)

    @torch.no_grad()
    def calibrate(self, grams: Sequence[Tensor]) -> None:
        """Standardise by what these Gram matrices, of many styles, look like: once, before training."""
        seen = self.energies(grams)
        self.mean.copy_(seen.mean(0))
        self.std.copy_(seen.std(0) + _EPS)

    @torch.no_grad()
    def start(self, theta: Mapping[str, Tensor], grams: Sequence[Tensor]) -> Parameters:
        """The scales and shifts at which to begin with one style, whose Gram matrices are (1, C_i, C_i) each."""
        return {name: theta[name] + added[0] for name, added in self(grams).items()}
