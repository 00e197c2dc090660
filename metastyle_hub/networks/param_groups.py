"""Parameter groups: which parameters of the network an adaptation trains, and so which a style stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

__all__ = [
    "TRAINABLE",
    "Parameters",
    "is_decoder_parameter",
    "is_norm_parameter",
    "largest_trainable",
    "norm_parameters",
    "trainable_parameters",
]

Parameters = dict[str, Tensor]
"""Parameters by name, as in `dict(network.named_parameters())`: the value that is adapted, interpolated and saved."""

TRAINABLE = ("norm", "decoder", "all")
"""The parameter groups, each a subset of the next; see `trainable_parameters`."""


def is_norm_parameter(name: str) -> bool:
    """Return whether a parameter is the weight or bias of an instance norm.

    >>> is_norm_parameter("encoder.0.norm.weight"), is_norm_parameter("encoder.0.conv.weight")
    (True, False)
    """
    return ".norm." in name


def is_decoder_parameter(name: str) -> bool:
    """Return whether a parameter belongs to the two upsampling layers or to the last convolution.

    >>> is_decoder_parameter("decoder.0.conv.bias"), is_decoder_parameter("to_rgb.weight")
    (True, True)
    """
    return name.startswith(("decoder.", "to_rgb."))


def norm_parameters(parameters: Mapping[str, Tensor]) -> Parameters:
    """Return the weights and biases of the instance norms: 3,200 values in the paper's network."""
    return trainable_parameters(parameters, "norm")


def trainable_parameters(parameters: Mapping[str, Tensor], trainable: str) -> Parameters:
    """Return the parameters of a group.

    Args:
        parameters: of the whole network.
        trainable: "norm": the 3,200 weights and biases of the instance norms, as in the inner loop of
            meta-training; "decoder": these and the decoder's convolutions, 103,235 values; "all": all 1,679,235.
    """
    if trainable == "all":
        return dict(parameters)
    decoder = trainable == "decoder"
    return {n: p for n, p in parameters.items() if is_norm_parameter(n) or (decoder and is_decoder_parameter(n))}


def largest_trainable(groups: Iterable[str]) -> str:
    """Return the one of several groups that contains all others; "norm" for none.

    >>> largest_trainable(["norm", "decoder"])
    'decoder'
    """
    return TRAINABLE[max((TRAINABLE.index(group) for group in groups), default=0)]
