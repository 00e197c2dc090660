"""What is saved is loaded bit for bit, onto its own base only, and files appear whole or not at all."""

from __future__ import annotations

import json
import math

import pytest
import tiny
import torch
from hub_server import LocalHub
from safetensors.torch import load_file

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.data.examples import example_contents
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.networks.param_groups import TRAINABLE, trainable_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig


@pytest.mark.parametrize("kind", ["style", "decoder_style", "norm_style"])
def test_a_saved_style_is_loaded_bit_for_bit(base, kind, tmp_path, request):
    style, content = request.getfixturevalue(kind), tiny.tensor(tiny.content(33, 47))
    base.save_pretrained(tmp_path / "base")
    loaded_base = MetaStyle.from_pretrained(tmp_path / "base")
    assert tiny.same(loaded_base.state_dict(), base.state_dict()) and loaded_base.fingerprint == base.fingerprint
    style.save_pretrained(tmp_path / "style")
    loaded = MetaStyle.from_pretrained(tmp_path / "style")
    assert tiny.same(loaded.state_dict(), style.state_dict())
    assert torch.equal(loaded.stylize(content), style.stylize(content))
    assert torch.equal(loaded.stylize(content, strength=0.4), style.stylize(content, strength=0.4))
    assert loaded.config == style.config and loaded.base.fingerprint == base.fingerprint
    assert loaded == style and loaded_base == base


def test_a_style_stores_only_what_it_trained_and_shares_the_rest_with_its_base(
    base, norm_style, decoder_style, style, tmp_path
):
    for made, group in ((norm_style, "norm"), (decoder_style, "decoder"), (style, "all")):
        own = trainable_parameters(base.state_dict(), group)
        stored = load_file(made.save_pretrained(tmp_path / group) / WEIGHTS_FILE)
        assert tiny.same(stored, {name: made.state_dict()[name] for name in own})
        assert made.num_parameters(only_own=True) == sum(p.numel() for p in own.values())
        assert all((p is base.state_dict()[n]) == (n not in own) for n, p in made.state_dict().items())


def test_files_of_the_shipped_architecture_have_the_documented_sizes(tmp_path):
    shipped = MetaStyle.from_pretrained()
    sizes = {}
    for trainable in TRAINABLE:
        style = shipped.adapt(
            tiny.style(), steps=0, crop_size=64, style_size=32, trainable=trainable, progress=False
        )  # fmt: skip
        sizes[trainable] = (style.save_pretrained(tmp_path / trainable) / WEIGHTS_FILE).stat().st_size
    assert sizes["norm"] < 17_000 and 412_000 < sizes["decoder"] < 420_000 and 6_700_000 < sizes["all"] < 6_800_000


def test_a_style_finds_the_base_in_the_folder_that_it_was_adapted_from(tmp_path):
    # in a process of its own, where no base is loaded yet
    made = MetaStyle.from_parameters(tiny.parameters(8), tiny.NETWORK).save_pretrained(tmp_path / "base")
    style = MetaStyle.from_pretrained(made).adapt(tiny.style(), config=tiny.QUICK, trainable="norm", progress=False)
    style.save_pretrained(tmp_path / "style")
    done = tiny.python(
        "-c",
        "import sys; from metastyle_hub import MetaStyle; print(MetaStyle.from_pretrained(sys.argv[1]).fingerprint)",
        str(tmp_path / "style"),
    )
    assert done.stdout.strip() == style.fingerprint, done.stderr


# --- load_style


def test_styles_loaded_onto_a_base_share_its_parameters(base, style, norm_style, decoder_style, tmp_path):
    folder = norm_style.save_pretrained(tmp_path / "norm")
    for loaded in (base.load_style(folder), base.load_style(str(folder)), base.load_style(norm_style)):
        assert loaded == norm_style and loaded.base is base and loaded.config == norm_style.config
        own = trainable_parameters(base.state_dict(), "norm")
        assert all((p is base.state_dict()[n]) == (n not in own) for n, p in loaded.state_dict().items())
    # onto the base of a style, not onto the style
    assert style.load_style(folder) == norm_style
    assert decoder_style.load_style(norm_style).base is base


def test_load_style_gives_the_base_itself_for_its_own_files_and_refuses_another_base(base, style, tmp_path):
    folder = base.save_pretrained(tmp_path / "base")
    assert base.load_style(folder) is base and style.load_style(folder) is base and base.load_style(base) is base
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK).save_pretrained(tmp_path / "other")
    with pytest.raises(ArtifactError) as error:
        base.load_style(other)
    assert str(other) in str(error.value) and "from_pretrained" in str(error.value)


def test_a_style_does_not_load_onto_another_base(style, tmp_path):
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK)
    style.save_pretrained(tmp_path)
    for given in (tmp_path, style):
        with pytest.raises(ArtifactError) as error:
            other.load_style(given)
        sentence = str(error.value)
        assert style.base.fingerprint[:12] in sentence and other.fingerprint[:12] in sentence and "\n" not in sentence


def test_a_style_whose_architecture_is_not_the_base_s_is_refused(base, style, tmp_path):
    config = style.save_pretrained(tmp_path) / CONFIG_FILE
    values = json.loads(config.read_text())
    values["architecture"]["upsampling"] = "nearest"
    config.write_text(json.dumps(values))
    with pytest.raises(ArtifactError) as error:
        base.load_style(tmp_path)
    assert "architecture" in str(error.value)


def test_subfolders_are_read(norm_style, base, tmp_path):
    norm_style.save_pretrained(tmp_path / "styles" / "wave")
    assert base.load_style(tmp_path / "styles", subfolder="wave") == norm_style
    base.save_pretrained(tmp_path / "repo" / "base")
    assert MetaStyle.from_pretrained(tmp_path / "repo", subfolder="base") == base


def test_what_is_not_there_is_named(base, tmp_path):
    for load in (MetaStyle.from_pretrained, base.load_style):
        with pytest.raises(ArtifactError) as error:
            load(tmp_path / "none")
        assert "none" in str(error.value)


# --- the base that ships


def test_the_shipped_base_nearly_reproduces_images():
    base = MetaStyle.from_pretrained()
    assert base.is_base and base.num_parameters() == 1_679_235
    assert MetaStyle.from_pretrained().fingerprint == base.fingerprint
    levels = []
    for path in example_contents().values():
        content = resize_short_side(to_tensor(load_image(path)), 128)
        levels.append(-10 * math.log10(float((base.stylize(content) - content).square().mean())))
    assert sum(levels) / len(levels) > 20  # dB


# --- files


def test_images_of_another_style_do_not_stay_in_the_folder(base, style, norm_style, tmp_path):
    images = {"preview": tiny.content(), "style_image": tiny.style()}
    style.save_pretrained(tmp_path, **images, extra={"notes.txt": b"mine"})
    style.save_pretrained(tmp_path)  # the same style: its images are still its own
    assert (tmp_path / "preview.jpg").is_file() and (tmp_path / "style.jpg").is_file()
    norm_style.save_pretrained(tmp_path, preview=tiny.content())
    assert (tmp_path / "preview.jpg").is_file() and not (tmp_path / "style.jpg").exists()
    style.save_pretrained(tmp_path)
    assert not (tmp_path / "preview.jpg").exists() and "preview.jpg" not in (tmp_path / "README.md").read_text()
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


def test_images_that_belong_to_no_style_stay(style, tmp_path):
    (tmp_path / "preview.jpg").write_bytes(b"mine")
    style.save_pretrained(tmp_path)
    assert (tmp_path / "preview.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["sub/x.txt", "../x", "..", "", ".", "sub\\x.txt", "a\0b", "taken", "x" * 300])
def test_extra_files_that_cannot_be_written_leave_the_folder_unchanged(style, norm_style, name, tmp_path):
    folder = style.save_pretrained(tmp_path / "style")
    (folder / "taken").mkdir()
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    with pytest.raises(ArtifactError) as error:
        norm_style.save_pretrained(folder, extra={name: b"1"})
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[]", "not json", ""])
def test_another_library_s_folder_is_not_overwritten(style, text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"theirs")
    with pytest.raises(ArtifactError) as error:
        style.save_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "config.json": text.encode(),
        "model.safetensors": b"theirs",
    }


# --- from_parameters


def test_from_parameters_takes_a_copy():
    parameters = tiny.parameters()
    base = MetaStyle.from_parameters(parameters, tiny.NETWORK)
    fingerprint = base.fingerprint
    for p in parameters.values():
        p.zero_()
    assert MetaStyle.from_parameters(base.state_dict(), tiny.NETWORK).fingerprint == fingerprint


def test_from_parameters_refuses_parameters_of_another_network():
    fits = tiny.parameters()
    wrong = [
        ((), ({}, None)),  # the default network is a larger one
        (("decoder.0.conv.bias", "(8,)", "(12,)"), (fits, NetworkConfig(width=6, residual_blocks=1))),
        (("surplus",), ({**fits, "surplus": torch.ones(1)}, tiny.NETWORK)),
        (("to_rgb.bias", "(3,)"), ({k: p for k, p in fits.items() if k != "to_rgb.bias"}, tiny.NETWORK)),
        (("to_rgb.bias", "finite"), ({**fits, "to_rgb.bias": torch.tensor([0.0, torch.nan, 0.0])}, tiny.NETWORK)),
    ]
    for named, (parameters, architecture) in wrong:
        with pytest.raises(ArtifactError) as error:
            MetaStyle.from_parameters(parameters, architecture)
        sentence = str(error.value)
        assert all(part in sentence for part in named)
        assert "architecture=NetworkConfig(" in sentence and "\n" not in sentence


def test_parameters_of_another_precision_become_float32():
    half = {name: p.bfloat16() for name, p in tiny.parameters().items()}
    base = MetaStyle.from_parameters(half, tiny.NETWORK)
    assert {p.dtype for p in base.state_dict().values()} == {torch.float32}
    assert base.stylize(tiny.contents(1)).dtype == torch.float32


def test_from_parameters_takes_further_fields_of_the_config(tmp_path):
    clamped = MetaStyle.from_parameters(
        tiny.parameters(), tiny.NETWORK, name="converted", output_activation="clamp", feature_extractor="vgg16"
    )
    back = MetaStyle.from_pretrained(clamped.save_pretrained(tmp_path))
    assert back == clamped and back.config == clamped.config and back.name == "converted"
    assert back.config.feature_extractor == "vgg16"
    plain = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    assert not torch.equal(clamped.stylize(tiny.contents(1)), plain.stylize(tiny.contents(1)))


# --- the Hub; more in tests/hub


def test_save_pretrained_can_push_as_well(hub: LocalHub, tmp_path):
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, name="tiny")
    folder = base.save_pretrained(tmp_path / "base", push_to_hub=True, repo_id="me/tiny-base", preview=tiny.content())
    assert folder == tmp_path / "base" and (folder / CONFIG_FILE).is_file() and (folder / "preview.jpg").is_file()
    back = MetaStyle.from_pretrained("me/tiny-base")
    assert back == base and back.config == base.config and back.origin.repo_id == "me/tiny-base"
    base.save_pretrained(tmp_path / "named-by-folder", push_to_hub=True)
    assert MetaStyle.from_pretrained("me/named-by-folder") == base


def test_a_hub_error_is_an_os_error(hub: LocalHub):
    with pytest.raises(OSError) as error:
        MetaStyle.from_pretrained("me/no-such-style")
    assert isinstance(error.value, HubError) and "me/no-such-style" in str(error.value)
