"""Johnson et al. 2016: one network for one style, trained on the perceptual loss.

    minimize over w   E_c [ loss(c, s, M(c; w)) ]

The network is that of MetaStyle: 1,676,035 parameters without those of instance norms, 1,679,235 with them. Published
training: 40,000 steps of four crops of 256 px for each style.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metastyle_hub.baselines.system import Baseline, total_count
from metastyle_hub.baselines.training import BaselineTrainingConfig, train
from metastyle_hub.data.content import content_dataset
from metastyle_hub.data.datasets import ImageDataset, InMemoryDataset
from metastyle_hub.losses import LossWeights, PerceptualLoss
from metastyle_hub.networks.feature_extractor import FeatureExtractor
from metastyle_hub.networks.inference import infer
from metastyle_hub.networks.param_groups import Parameters, norm_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet

__all__ = ["PAPER_NETWORK", "Johnson"]

PAPER_NETWORK = NetworkConfig(logit_skip=False, upsampling="nearest", noise_injection=False)


class Johnson(Baseline[Parameters]):
    """The system of Johnson et al., with the loss of MetaStyle's paper: content and style at full size.

    Args:
        feature_extractor: of the loss; it is no part of the system.
        config: of the training that `prepare` runs.
        contents: content images of that training; None for the built-in ones.
        network: the architecture.
    """

    def __init__(
        self,
        feature_extractor: FeatureExtractor,
        config: BaselineTrainingConfig | None = None,
        contents: ImageDataset | None = None,
        network: NetworkConfig = PAPER_NETWORK,
    ) -> None:
        super().__init__()
        self.feature_extractor = feature_extractor
        self.loss = PerceptualLoss(feature_extractor, LossWeights.paper())
        self.config, self.contents = config or BaselineTrainingConfig(steps=40_000, crop_size=256), contents
        self.network = TransformerNet(network).to(memory_format=torch.channels_last)
        self.grams: tuple[Tensor, ...] = ()  # of the style that training is for

    def parameter_count(self) -> int:
        """Return the number of parameters without the norms', which the paper does not count."""
        return total_count(self.network) - sum(
            p.numel() for p in norm_parameters(self.network.parameter_dict()).values()
        )

    def set_style(self, style: Tensor) -> None:
        """Set the style image (1, 3, H, W) of the training."""
        self.grams = self.loss.style_grams(style)

    def prepare(self, style: Tensor) -> Parameters:
        """Train the network, from its current parameters, on a style; return its parameters."""
        self.set_style(style)
        with torch.enable_grad():
            contents = self.contents or content_dataset()
            for _ in train(self, contents, InMemoryDataset([style[0]]), self.config):
                pass
        return self.network.parameter_dict()

    def transfer(self, content: Tensor, style: Parameters) -> Tensor:
        """Stylize by the parameters that `prepare` returned."""
        return infer(self.network, style, content)

    def training_loss(self, contents: Tensor, styles: Tensor) -> Tensor:
        """Return the logarithm of the perceptual loss, mean over contents; the style is that of `set_style`."""
        images = torch.sigmoid(self.network(contents).float())
        return self.loss(images, self.loss.targets(contents, self.grams))[0].log().mean()
