"""One step of an adaptation as a pure function of tensors: forward, gradient, Adam. The page's graphs are made of it.

    g = gradient of  E_c [ log loss(c, s, M(c; w)) ] + outliers(w)
    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2,   w = w - rate / c1 * m / (sqrt(v / c2) + eps)

with the bias corrections c1 = 1 - b1^t, c2 = 1 - b2^t of step t = 1, 2, ..., an input like the learning rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from metastyle_hub.adaptation import ADAM_BETAS, AdaptationConfig
from metastyle_hub.export.layout import ParameterLayout
from metastyle_hub.export.plain import PlainExtractor, noise_inputs, plain_logits, plain_outlier_penalty
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.networks.feature_extractor import FeatureSpec
from metastyle_hub.networks.param_groups import is_decoder_parameter, is_norm_parameter
from metastyle_hub.networks.transformer_net import NetworkConfig

__all__ = ["AdaptationGraphStep"]

_ADAM_EPS = 1e-8  # of torch.optim.Adam


@dataclass(frozen=True)
class AdaptationGraphStep:
    """A step for one architecture and one recipe.

    Args:
        network: the architecture of the network.
        features: that of the feature extractor.
        config: crops, weights of the losses and so on; the learning rates are an input.
        layout: of the flat parameter vector.
        decoder_only: whether all norms before the decoder are frozen.
    """

    network: NetworkConfig
    features: FeatureSpec
    config: AdaptationConfig
    layout: ParameterLayout
    decoder_only: bool = False

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the inputs by name, in their order."""
        n, b, size = self.layout.count, self.config.batch_size, self.config.crop_size
        shapes: dict[str, tuple[int, ...]] = {"parameters": (n,), "m": (n,), "v": (n,), "rates": (4,)}
        shapes["crops"] = (b, 3, size, size)
        for noise in noise_inputs(self.network):
            shapes[noise.name] = (1, noise.channels, size // noise.pixels, size // noise.pixels)
        for i, channels in enumerate(self.config.weights.compared_scales * self.features.gram_channels):
            shapes[f"gram_{i}"] = (1, channels, channels)
        return shapes

    def __call__(self, inputs: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return parameters_out, m_out, v_out (N,), and losses (3,): total, content, style before the step.

        Args:
            inputs: see `inputs`. `rates` are the learning rates of norms and convolutions, and c1, c2.
            constants: the frozen parameters of the network, and the `state_dict` of the feature extractor.
        """
        names = [name for name in self.layout.shapes if is_decoder_parameter(name) or not self.decoder_only]
        own = self.layout.unflatten(inputs["parameters"])
        trained = {name: own[name].detach().requires_grad_() for name in names}
        objective, losses = self._objective({**constants, **own, **trained}, constants, inputs)
        gradients = torch.autograd.grad(objective, list(trained.values()))
        gradient = torch.cat([g.reshape(-1) for g in gradients])
        beta1, beta2 = ADAM_BETAS
        rates, state = inputs["rates"], {key: self._select(inputs[key], names) for key in ("parameters", "m", "v")}
        m = beta1 * state["m"] + (1 - beta1) * gradient
        v = beta2 * state["v"] + (1 - beta2) * gradient.square()
        moved = m / rates[2] / ((v / rates[3]).sqrt() + _ADAM_EPS)
        updated = {"parameters": state["parameters"] - self._rates(rates, names) * moved, "m": m, "v": v}
        outputs = {f"{key}_out": self._replace(inputs[key], names, value) for key, value in updated.items()}
        return {**outputs, "losses": losses}

    def _objective(
        self, weights: Mapping[str, Tensor], constants: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        crops, config = inputs["crops"], self.config
        loss = PerceptualLoss(PlainExtractor(self.features, constants), config.weights)  # type: ignore[arg-type]
        activations: list[Tensor] = []
        images = torch.sigmoid(plain_logits(self.network, weights, crops, inputs, activations))
        grams = [inputs[name] for name in inputs if name.startswith("gram_")]
        terms = loss(images, loss.targets(crops, grams))
        objective = terms[0].log().mean()
        if config.outlier_weight:
            penalty = plain_outlier_penalty(activations, config.outlier_limit)
            objective = objective + config.outlier_weight * penalty
        return objective, torch.stack([term.detach().mean() for term in terms])

    def _select(self, vector: Tensor, names: list[str]) -> Tensor:
        """The values of these parameters."""
        runs = self._runs(names)
        return torch.cat([part for (chosen, _), part in zip(runs, self._split(vector, runs), strict=True) if chosen])

    def _replace(self, vector: Tensor, names: list[str], values: Tensor) -> Tensor:
        """The vector with other values of these parameters."""
        runs = self._runs(names)
        new = iter(self._split(values, [run for run in runs if run[0]]))
        parts = zip(runs, self._split(vector, runs), strict=True)
        return torch.cat([next(new) if chosen else part for (chosen, _), part in parts])

    def _runs(self, names: list[str]) -> list[tuple[bool, int]]:
        """The vector as runs of values that belong to these parameters or do not, with their lengths."""
        sizes = self.layout.sizes
        return [(chosen, sum(sizes[name] for name in run)) for chosen, run in groupby(sizes, names.__contains__)]

    @staticmethod
    def _split(vector: Tensor, runs: list[tuple[bool, int]]) -> tuple[Tensor, ...]:
        return vector.split([length for _, length in runs])

    def _rates(self, rates: Tensor, names: list[str]) -> Tensor:
        """The learning rate of every value."""
        sizes = self.layout.sizes
        runs = [(norm, sum(sizes[name] for name in run)) for norm, run in groupby(names, is_norm_parameter)]
        return torch.cat([rates[0 if norm else 1].expand(length) for norm, length in runs])
