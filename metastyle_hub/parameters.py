"""Parameters of the network by name, and which of them an adaptation moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

__all__ = [
    "MOVES",
    "Parameters",
    "is_decoder_parameter",
    "is_norm_parameter",
    "moving_parameters",
    "norm_parameters",
    "widest",
]

Parameters = dict[str, Tensor]
"""Parameters by name, as in `dict(network.named_parameters())`: the value that is adapted, mixed, saved."""

MOVES = ("norm", "decoder", "all")
"""What an adaptation moves and a style owns, each within the next: see `moving_parameters`."""


def is_norm_parameter(name: str) -> bool:
    """Whether a parameter is an instance-norm scale or shift: what the inner loop of meta-learning moves."""
    return name.endswith((".scale", ".shift"))


def is_decoder_parameter(name: str) -> bool:
    """Whether a parameter lies behind the trunk: in the two upsampling layers or the last convolution."""
    return name.startswith(("up.", "out."))


def norm_parameters(parameters: Mapping[str, Tensor]) -> Parameters:
    """The instance-norm scales and shifts among the parameters: 3,200 values in the paper's network."""
    return moving_parameters(parameters, "norm")


def moving_parameters(parameters: Mapping[str, Tensor], moves: str) -> Parameters:
    """The parameters that an adaptation moves, and so what a style owns; the rest is the base's.

    Args:
        moves: "norm": the 3,200 scales and shifts of the instance norms, as in the paper's inner loop; "decoder": these
            and the convolutions behind the trunk, 103,235 values; "all": the whole network, 1,679,235.
    """
    if moves == "all":
        return dict(parameters)
    decoder = moves == "decoder"
    return {n: p for n, p in parameters.items() if is_norm_parameter(n) or (decoder and is_decoder_parameter(n))}


def widest(moves: Iterable[str]) -> str:
    """The one of several `MOVES` that takes in all others; "norm" of none.

    >>> widest(["norm", "decoder"])
    'decoder'
    """
    return MOVES[max((MOVES.index(each) for each in moves), default=0)]
