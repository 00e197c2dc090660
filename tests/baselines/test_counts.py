"""The parameters of Table 1, added up from the layers, and the three figures of the paper that differ from them."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from metastyle_hub.baselines.adain import AdaIN
from metastyle_hub.baselines.avatar_net import VGG19_CLASSIFIER, AvatarNet
from metastyle_hub.baselines.gatys import Gatys
from metastyle_hub.baselines.johnson import PAPER_NETWORK, Johnson
from metastyle_hub.baselines.meta_networks import MetaNetwork
from metastyle_hub.baselines.style_swap import StyleSwap
from metastyle_hub.baselines.system import mirrored_decoder, total_count, vgg19_encoder
from metastyle_hub.baselines.wct import WCT
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor
from metastyle_hub.networks.transformer_net import NetworkConfig, meta_network


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (Gatys.published, 0),
        (lambda: Johnson(FeatureExtractor(SPECS["vgg16"])), 1_676_035),
        (WCT.published, 34_239_311),
        (AdaIN.published, 7_010_947),
        (MetaNetwork.published, 219_316_259),
        (AvatarNet.published, 147_217_067),
        (StyleSwap.published, 1_110_403),
    ],
    ids=["gatys", "johnson", "wct", "adain", "meta_networks", "avatar_net", "style_swap"],
)
def test_published_sizes(build, count):
    with torch.device("meta"):
        assert build().parameter_count() == count


@pytest.mark.parametrize("config", [PAPER_NETWORK, NetworkConfig()], ids=["johnson", "metastyle"])
def test_affine_norms_add_3200(config):
    network = meta_network(config)
    norms = sum(p.numel() for name, p in network.named_parameters() if ".norm." in name)
    assert (norms, total_count(network) - norms) == (3_200, 1_676_035)


@pytest.mark.parametrize(
    ("level", "encoder", "decoder"),
    [(1, 1_792, 1_731), (2, 112_576, 112_451), (3, 555_328, 555_075), (4, 3_505_728, 3_505_219),
     (5, 12_944_960, 12_944_451)],
)  # fmt: skip
def test_levels_of_vgg19_and_their_mirrors(level, encoder, decoder):
    with torch.device("meta"):
        assert total_count(vgg19_encoder(level)) == encoder
        assert total_count(mirrored_decoder(level)) == decoder


def test_a_meta_network_generates_all_but_the_first_and_the_last_convolution():
    with torch.device("meta"):
        system = MetaNetwork.published()
    generated = sum(shape.numel() + shape[0] for shape in system.generated.values())
    assert (len(system.generated), generated) == (14, 1_660_448)
    assert total_count(system.hidden) + total_count(system.heads) == 217_640_224


def test_the_paper_s_figure_for_wct_is_cut_off_not_rounded():
    with torch.device("meta"):
        count = WCT.published().parameter_count()
    assert (count // 10_000, round(count, -4) // 10_000) == (3_423, 3_424)


def test_the_paper_s_figure_for_avatar_net_includes_the_classifier():
    with torch.device("meta"):
        assert total_count(models.vgg19()) == VGG19_CLASSIFIER
        assert total_count(AvatarNet.published()) == 7_055_555  # what an image needs


def test_norm_parameters_do_not_explain_the_paper_s_figure_for_style_swap():
    with torch.device("meta"):
        system = StyleSwap.published()
    affine = sum(2 * part[0].out_channels for part in system.decoder[:-1])
    assert (affine, round((system.parameter_count() + affine) / 1e6, 2)) == (768, 1.11)  # not 1.48
