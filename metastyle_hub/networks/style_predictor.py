"""The style predictor: a predicted initialization of an adaptation, from the Gram matrices of the style.

    phi_0(s) = phi_0 + P(G_1(s), G_2(s), ...)            norm weights and biases; w_1 is a gradient step from there

Of a hundred gradient steps from theta, the first twenty learn what is common to all styles with similar Gram matrices.
P is a small network that predicts it. Ghiasi et al. 2017 predict norm parameters from the style image and stop there;
here the gradient steps continue from the prediction. P sees exactly what the style loss compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from metastyle_hub.networks.param_groups import Parameters, norm_parameters

__all__ = ["MAX_STYLE_SCALES", "StylePredictor"]

MAX_STYLE_SCALES = 3  # scales at which style can be compared: full, half, quarter size

_DIRECTIONS = (64, 96, 128)  # projections per tap at full size, at most the channels of the tap
_COARSE_DIRECTIONS = (32, 48, 64)  # the same at the smaller scales
_HIDDEN = 256
_CLAMP = 4.0  # standard deviations; an outlying style, such as one color, is treated as one at this distance
_EPS = 1e-3  # relative to the mean energy: the logarithm of directions without energy stays bounded


class StylePredictor(nn.Module):
    """P: Gram matrices (B, C_i, C_i) -> offsets of the norm parameters, (B, C) by name. A new one predicts zeros.

    Of each Gram matrix G it sees the energies w^T G w along learned directions w, relative to the mean energy, and the
    mean energy, all as logarithms; two hidden layers follow.

    Args:
        channels: sizes of the Gram matrices of one scale, `FeatureSpec.gram_channels`.
        scales: number of scales whose Gram matrices it sees, the largest first.
        parameters: of the network, for the names and shapes of its norm parameters.

    >>> theta = TransformerNet().parameter_dict()
    >>> predictor = StylePredictor((64,), 1, theta)
    >>> initial = predictor.initialization(theta, [torch.eye(64)[None]])
    >>> torch.equal(initial["decoder.0.norm.weight"], theta["decoder.0.norm.weight"])
    True
    """

    def __init__(self, channels: Sequence[int], scales: int, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.sizes = {name: len(p) for name, p in norm_parameters(parameters).items()}
        counts: list[int] = []
        for wanted in (_DIRECTIONS, *(scales - 1) * [_COARSE_DIRECTIONS]):
            deeper = len(channels) * wanted[-1:]
            counts += [min(n, c) for n, c in zip((*wanted, *deeper), channels, strict=False)]
        self.directions = nn.ParameterList(
            nn.Parameter(_random_directions(n, c)) for n, c in zip(counts, scales * tuple(channels), strict=True)
        )
        inputs = sum(counts) + len(counts)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.mean: Tensor
        self.std: Tensor
        self.hidden = nn.Sequential(nn.Linear(inputs, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _HIDDEN), nn.GELU())
        self.out = nn.Linear(_HIDDEN, sum(self.sizes.values()))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, grams: Sequence[Tensor]) -> Parameters:
        """Return the offsets of all norm parameters by name: (B, C) each."""
        x = ((self.energies(grams) - self.mean) / self.std).clamp(-_CLAMP, _CLAMP)  # (B, E)
        parts = self.out(self.hidden(x)).split(list(self.sizes.values()), dim=-1)
        return dict(zip(self.sizes, parts, strict=True))

    def energies(self, grams: Sequence[Tensor]) -> Tensor:
        """Return the log energies of Gram matrices, before standardization: (B, E)."""
        values = []
        for gram, directions in zip(grams, self.directions, strict=True):
            mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True) + 1e-8  # (B, 1)
            relative = ((directions @ gram) * directions).sum(-1) / mean  # (B, directions)
            values += [(relative + _EPS).log(), mean.log()]
        return torch.cat(values, -1)

    @torch.no_grad()
    def calibrate(self, grams: Sequence[Tensor]) -> None:
        """Set mean and standard deviation of the input from the Gram matrices of many styles, before training."""
        values = self.energies(grams)
        self.mean.copy_(values.mean(0))
        self.std.copy_(values.std(0) + _EPS)

    @torch.no_grad()
    def initialization(self, theta: Mapping[str, Tensor], grams: Sequence[Tensor]) -> Parameters:
        """Return the predicted norm parameters for one style, whose Gram matrices are (1, C_i, C_i)."""
        return {name: theta[name] + offset[0] for name, offset in self(grams).items()}


def _random_directions(count: int, channels: int) -> Tensor:
    directions = torch.empty(count, channels)
    if directions.device.type != "meta":  # there normal_ imports torch._dynamo, which takes 2 s
        directions.normal_(std=channels**-0.5)
    return directions
