"""Feature extractors are what their names say: torchvision's VGG, the right taps, strict weights."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import metastyle_hub
from metastyle_hub.data.examples import example_contents, example_styles
from metastyle_hub.errors import FeatureExtractorError, MetaStyleError
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import center_crop
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, FeatureSpec, load_feature_extractor

models = pytest.importorskip("torchvision").models

COMPACT = Path(metastyle_hub.__file__).parent / "pretrained" / "compact.safetensors"


@pytest.mark.parametrize("name", ["compact", "vgg16", "vgg19"])
def test_taps_are_named_and_sized_as_in_the_literature(name):
    network = FeatureExtractor(SPECS[name], name)
    with torch.no_grad():
        maps = network(torch.rand(2, 3, 32, 48))
    assert maps.keys() == {network.spec.content_tap, *network.spec.style_taps}
    widths = {f"relu{s}_{c}": w for s, stage in enumerate(network.spec.stages, 1) for c, w in enumerate(stage, 1)}
    widths |= dict(network.spec.heads)
    for tap, values in maps.items():
        shrink = 2 ** (int(tap[4]) - 1)
        assert values.shape == (2, widths[tap], 32 // shrink, 48 // shrink)
        assert float(values.min()) >= 0, "a tap is the output of a ReLU"


def test_vgg16_has_the_taps_of_the_paper():
    spec = SPECS["vgg16"]
    assert spec.content_tap == "relu2_2"
    assert spec.style_taps == ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    assert sum(p.numel() for p in FeatureExtractor(spec).parameters()) == 7_635_264


def test_only_the_requested_taps_are_returned():
    network = tiny.features()
    assert network(tiny.contents(1), ("relu1_1",)).keys() == {"relu1_1"}
    assert network(tiny.contents(1), ()) == {}


def test_an_unknown_tap_is_answered_with_the_known_ones():
    with pytest.raises(ValueError) as error:
        tiny.features()(tiny.contents(1), ("relu1_2", "relu9_9"))
    sentence = str(error.value)
    assert "tiny" in sentence and "'relu9_9'" in sentence and "relu1_1, relu1_2, relu2_1" in sentence


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(FeatureExtractorError) as error:
        load_feature_extractor("resnet50")
    sentence = str(error.value)
    assert isinstance(error.value, MetaStyleError)
    assert "'resnet50'" in sentence and all(name in sentence for name in SPECS) and "\n" not in sentence


def test_heads_are_1x1_convolutions_with_relu_on_top_of_their_tap():
    spec = FeatureSpec(stages=((4,), (6,)), content_tap="relu1_1", style_taps=("relu2_1",), heads=(("relu2_1", 3),))
    network, images = tiny.features(spec=spec), tiny.contents(1)
    plain = FeatureExtractor(replace(spec, heads=()))
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if k.startswith("features")})
    read, head = network(images, ("relu2_1",))["relu2_1"], network.heads["relu2_1"]
    assert read.shape[1] == 3
    torch.testing.assert_close(read, torch.relu(head(plain(images, ("relu2_1",))["relu2_1"])))


def test_images_are_normalized_by_the_feature_extractor():
    network = tiny.features()
    images = tiny.contents(2)
    by_hand = network.features[0]((images - network.mean) / network.std)
    torch.testing.assert_close(network(images, ("relu1_1",))["relu1_1"], torch.relu(by_hand))


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_stages_are_joined_by_a_pooling_of_2x2_pixels(pool):
    network = tiny.features(spec=replace(tiny.FEATURES, pool=pool))
    maps = network(tiny.contents(2), ("relu1_2", "relu2_1"))
    pooled = F.avg_pool2d(maps["relu1_2"], 2) if pool == "avg" else F.max_pool2d(maps["relu1_2"], 2)
    convolution = [layer for layer in network.features if isinstance(layer, nn.Conv2d)][-1]
    torch.testing.assert_close(maps["relu2_1"], torch.relu(convolution(pooled)), rtol=1e-4, atol=1e-5)


def test_parameters_require_no_gradient_but_images_get_theirs():
    network, images = tiny.features(), tiny.contents(1).requires_grad_()
    assert not any(p.requires_grad for p in network.parameters())
    gradient = torch.autograd.grad(sum(m.sum() for m in network(images).values()), images)[0]
    assert float(gradient.abs().max()) > 0


# --- compact


def test_compact_ships_in_at_most_4_mb_and_loads():
    assert COMPACT.stat().st_size <= 4_000_000
    network = load_feature_extractor("compact")
    assert network.dtype == torch.float32
    stored = load_file(COMPACT)
    assert stored.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, stored[name].float()) and bool(torch.isfinite(value).all())
    assert load_feature_extractor("compact", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_no_channel_that_the_loss_compares_is_always_0():
    paths = [*example_styles().values(), *example_contents().values()]
    images = torch.stack([center_crop(to_tensor(load_image(path)), 128)[0] for path in paths])
    for tap, values in load_feature_extractor("compact")(images).items():
        dead = (values.amax((0, 2, 3)) == 0).nonzero().flatten().tolist()
        assert not dead, f"channels {dead} of {tap}"


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "truncated", "absent"])
def test_weights_load_strictly_or_not_at_all(tmp_path, damage):
    file, state = tmp_path / "weights.safetensors", load_file(COMPACT)
    if damage == "missing":
        del state["features.0.bias"]
    elif damage == "extra":
        state["features.99.bias"] = torch.zeros(3)
    elif damage == "shape":
        state["features.0.bias"] = torch.zeros(7)
    if damage != "absent":
        save_file(state, file)
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(FeatureExtractorError) as error:
        load_feature_extractor("compact", file=file)
    sentence = str(error.value)
    assert str(file) in sentence and "compact" in sentence and "\n" not in sentence


# --- torchvision's VGG


def vgg_layers(name: str) -> nn.Sequential:
    """torchvision's own network, its convolutions random; the classifier, 90 % of it, stays on the meta device."""
    with torch.device("meta"):
        layers = models.get_model(name, weights=None).features
    layers = layers.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in layers.parameters():
            fan_in = p[0].numel() if p.ndim > 1 else 100
            p.copy_(torch.randn(p.shape, generator=generator) * (2 / fan_in) ** 0.5)
    return layers


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_vgg_is_torchvision_s_own_cut_after_the_last_tap(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    layers = vgg_layers(name)
    url = models.get_model_weights(name).IMAGENET1K_V1.url
    download = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
    download.parent.mkdir(parents=True)
    torch.save({f"features.{k}": v for k, v in layers.state_dict().items()}, download)

    network = load_feature_extractor(name)
    # in float64, since in float32 convolutions differ between machines, and between memory formats
    exact, layers = load_feature_extractor(name, dtype=torch.float64), layers.double()
    x = tiny.contents(2, dtype=torch.float64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    ours, theirs = exact(x), (x - mean) / std
    stage, convolution, seen = 1, 0, set()
    with torch.no_grad():
        for layer in layers:
            theirs = layer(theirs)
            convolution += isinstance(layer, nn.Conv2d)
            if isinstance(layer, nn.MaxPool2d):
                stage, convolution = stage + 1, 0
            tap = f"relu{stage}_{convolution}"
            if isinstance(layer, nn.ReLU) and tap in ours:
                torch.testing.assert_close(ours[tap], theirs, rtol=1e-9, atol=1e-9)
                seen.add(tap)
    assert seen == set(ours)

    # the download of half a gigabyte is needed once: the part that is used is cached
    shutil.rmtree(download.parent)
    kept = list((tmp_path / "hub").rglob("*.*"))
    assert [path.suffix for path in kept] == [".safetensors"]
    assert kept[0].stat().st_size < 5000 + 4 * sum(p.numel() for p in network.parameters())
    again = load_feature_extractor(name)
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), again.parameters(), strict=True))


def test_without_a_connection_the_error_names_compact(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for scheme in ("http", "https"):  # a proxy port without a listener refuses at once
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # made with the proxies of the first use
    with pytest.raises(FeatureExtractorError) as error:
        load_feature_extractor("vgg16")
    sentence = str(error.value)
    assert "vgg16" in sentence and "'compact'" in sentence and "\n" not in sentence
    assert not list(tmp_path.rglob("*.safetensors*")), "no partial file stays"


def test_weights_without_a_download_are_asked_for_as_a_file():
    with pytest.raises(FeatureExtractorError) as error:
        load_feature_extractor("vgg19_oxford")
    assert "vgg19_oxford" in str(error.value) and "file" in str(error.value)


def test_loading_leaves_the_caller_s_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    load_feature_extractor("compact")
    assert torch.equal(torch.rand(2), expected)


def test_the_smallest_image_with_features_at_every_tap():
    network = load_feature_extractor("compact")
    side = network.min_size
    assert all(min(m.shape) > 0 for m in network(torch.rand(1, 3, side, side)).values())
