"""What a user holds: pictures in, pictures of the same size out, and objects that never change."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub import AdaptationConfig, LossWeights, MetaStyle, MetaStyleError, interpolate
from metastyle_hub.artifacts.config import ArtifactError, BaseReference
from metastyle_hub.devices import DeviceError, training_dtype
from metastyle_hub.errors import ImageError, SettingError
from evaluation.fidelity import psnr
from metastyle_hub.data.examples import example_photos
from metastyle_hub.networks.feature_extractor import FeatureExtractorError
from metastyle_hub.images.transforms import preserve_color, resize_short_side
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.interpolation import InterpolationError
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.networks.param_groups import TRAINABLE, is_norm_parameter, trainable_parameters

QUICK = AdaptationConfig(
    steps=2,
    size=64,
    style_size=32,
    batch=1,
    trainable="all",
    precision="float32",
    learning_rate=1e-2,
    norm_learning_rate=5e-2,
)


@pytest.fixture(scope="module")
def base() -> MetaStyle:
    return MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, name="tiny")


@pytest.fixture(scope="module")
def style(base) -> MetaStyle:
    return base.adapt(tiny.style(), config=QUICK)


@pytest.fixture(scope="module")
def norm_style(base) -> MetaStyle:
    return base.adapt(tiny.style(seed=1), config=QUICK, trainable="norm")


@pytest.fixture(scope="module")
def decoder_style(base) -> MetaStyle:
    return base.adapt(tiny.style(seed=1), config=QUICK, trainable="decoder")


def close(first: Image.Image, second: Image.Image, levels: int = 1) -> bool:
    return bool(np.abs(np.asarray(first).astype(int) - np.asarray(second)).max() <= levels)


# --- stylising


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (3, 200), (33, 47), (64, 64), (101, 50)])
def test_the_result_has_the_size_of_the_photo(style, size):
    photo = tiny.image(tiny.content(*size))
    result = style.stylize(photo)
    assert result.size == photo.size == (size[1], size[0]) and result.mode == "RGB"


def test_photos_come_in_any_form(style, tmp_path):
    picture = tiny.content(40, 60)
    path = tmp_path / "photo.png"
    tiny.image(picture).save(path)
    results = [style.stylize(photo) for photo in (path, str(path), tiny.image(picture), picture)]
    assert all(isinstance(r, Image.Image) and close(r, results[0], 0) for r in results)


def test_tensors_keep_their_shape(style):
    batch = tiny.contents(2, 40)
    result = style.stylize(batch)
    assert result.shape == batch.shape and result.dtype == torch.float32
    assert float(result.min()) >= 0 and float(result.max()) <= 1 and not result.requires_grad
    assert style.stylize(batch[0]).shape == (3, 40, 40)
    torch.testing.assert_close(style.stylize(batch[0]), result[0], rtol=0, atol=1e-5)


def test_tensors_and_pictures_agree(style):
    picture = tiny.content(40, 60)
    as_image = to_tensor(style.stylize(tiny.image(picture)))
    torch.testing.assert_close(as_image, style.stylize(tiny.tensor(picture)), rtol=0, atol=0.51 / 255)


def test_a_list_gives_a_list(style):
    photos = [tiny.image(tiny.content(20, 30)), tiny.tensor(tiny.content(40, 24))[0]]
    first, second = style.stylize(photos)
    assert first.size == (30, 20) and second.shape == (3, 40, 24)
    assert style.stylize([]) == []


def test_transparency_is_kept(style):
    photo = tiny.image(tiny.content(40, 60)).convert("RGBA")
    alpha = Image.linear_gradient("L").resize(photo.size)
    photo.putalpha(alpha)
    result = style.stylize(photo)
    assert result.mode == "RGBA" and np.array_equal(np.asarray(result)[..., 3], np.asarray(alpha))
    assert close(result.convert("RGB"), style.stylize(photo.convert("RGB")), 0)
    assert style.stylize(photo, size=20).size == (30, 20)


def test_exif_orientation_is_applied(style, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    tiny.image(tiny.content(20, 32)).save(path, exif=exif)
    assert style.stylize(path).size == (20, 32)


def test_strength_goes_from_the_base_to_the_style(base, style):
    photo = tiny.tensor(tiny.content(40, 60))
    full, none, half = (style.stylize(photo, strength=s) for s in (1.0, 0.0, 0.5))
    assert torch.equal(full, style.stylize(photo))
    assert torch.equal(none, base.stylize(photo))
    middle = {name: (p + base.state_dict()[name]) / 2 for name, p in style.state_dict().items()}
    between = MetaStyle.from_parameters(middle, tiny.NETWORK)
    torch.testing.assert_close(half, between.stylize(photo), rtol=0, atol=1e-4)
    assert float((half - full).abs().max()) > 1e-3 < float((half - none).abs().max())


def test_strength_moves_only_norms_in_a_norm_style(base, norm_style):
    photo = tiny.tensor(tiny.content(40, 60))
    middle = {
        name: (p + base.state_dict()[name]) / 2 if is_norm_parameter(name) else p
        for name, p in norm_style.state_dict().items()
    }
    between = MetaStyle.from_parameters(middle, tiny.NETWORK)
    torch.testing.assert_close(norm_style.stylize(photo, strength=0.5), between.stylize(photo), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(style, strength):
    with pytest.raises(ValueError, match="strength must be from 0 to 1, got"):
        style.stylize(tiny.content(), strength=strength)


def test_size_is_the_short_side_of_the_result(style):
    assert style.stylize(tiny.image(tiny.content(40, 60)), size=20).size == (30, 20)
    assert style.stylize(tiny.image(tiny.content(60, 40)), size=80).size == (80, 120)
    for size in (0, -3):
        with pytest.raises(ValueError, match=f"size must be at least 1 pixel, got {size}"):
            style.stylize(tiny.content(), size=size)


def test_the_photo_s_colours_can_be_kept(style):
    photo = tiny.tensor(tiny.content(40, 60))
    result = style.stylize(photo, preserve_color=True)
    assert torch.equal(result, preserve_color(style.stylize(photo), photo))
    assert float((result - style.stylize(photo)).abs().mean()) > 1e-3


def test_stylising_twice_is_bit_identical_and_leaves_the_photo_alone(style):
    photo = tiny.tensor(tiny.content(40, 60))
    before = photo.clone()
    first, second = style.stylize(photo), style.stylize(photo)
    assert torch.equal(first, second) and torch.equal(photo, before)
    first.zero_()
    assert not torch.equal(first, style.stylize(photo))


@pytest.mark.parametrize("photo", ["missing.jpg", 3, None, torch.rand(2, 3), torch.full((3, 8, 8), 2.0)])
def test_photos_that_cannot_be_used_are_refused(style, photo):
    with pytest.raises(ImageError):
        style.stylize(photo)


# --- adapting


def test_adapting_gives_a_new_style_and_leaves_the_base(base):
    before = {name: p.clone() for name, p in base.state_dict().items()}
    style = base.adapt(tiny.style(), config=QUICK)
    assert style is not base and style.base is base and not style.is_base and base.is_base
    assert tiny.same(base.state_dict(), before) and not tiny.same(style.state_dict(), before)
    assert style.config.steps == 2 and style.config.base_model.fingerprint == base.fingerprint
    assert style.config.adaptation == QUICK.to_dict()


def test_a_style_tells_where_it_came_from(base, tmp_path):
    path = tmp_path / "great_wave.png"
    tiny.image(tiny.style()).save(path)
    from_file, from_array = base.adapt(path, config=QUICK, steps=0), base.adapt(tiny.style(), config=QUICK, steps=0)
    assert from_file.name == "great_wave" and from_array.name == "style"
    assert len(from_file.config.style_sha256) == len(from_array.config.style_sha256) == 64
    other = base.adapt(tiny.style(seed=3), config=QUICK, steps=0)
    assert other.config.style_sha256 != from_array.config.style_sha256


def test_the_same_seed_gives_the_same_style(base, style):
    again = base.adapt(tiny.style(), config=QUICK)
    assert tiny.same(again.state_dict(), style.state_dict()) and again.fingerprint == style.fingerprint
    assert base.adapt(tiny.style(), config=QUICK, seed=1).fingerprint != style.fingerprint


def test_step_by_step_every_step_is_a_style(base, style):
    steps = list(base.adapt_iter(tiny.style(), config=QUICK))
    assert [s.index for s in steps] == [0, 1, 2] == [s.style_model.config.steps for s in steps]
    assert tiny.same(steps[0].style_model.parameters, base.state_dict())
    assert tiny.same(steps[-1].style_model.parameters, style.state_dict())
    pictures = [s.style_model.stylize(tiny.contents(1)) for s in steps]
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(pictures))
    w = QUICK.weights  # the total holds the tone and the grid as well, which lie in [0, 1]
    parts = [w.content_weight * s.content + w.style_weight * s.style for s in steps]
    more = w.tone_weight + w.checkerboard_weight
    assert all(p * 0.999 <= s.loss <= p * 1.001 + more for p, s in zip(parts, steps, strict=True))


def test_a_style_can_be_adapted_further_and_stays_a_style_of_the_base(base, style, norm_style):
    further = style.adapt(tiny.style(seed=2), config=QUICK, steps=1)
    assert further.base is base and further.config.steps == 3
    assert further.config.trainable == "all"
    still_norm = norm_style.adapt(tiny.style(seed=2), config=QUICK, trainable="norm")
    assert still_norm.config.trainable == "norm" and still_norm.config.base_model.fingerprint == base.fingerprint
    mixed = style.adapt(tiny.style(seed=2), config=QUICK, trainable="norm")
    assert mixed.config.trainable == "all", "its convolutions are not the base's"
    assert norm_style.adapt(tiny.style(), config=QUICK, trainable="decoder").config.trainable == "decoder"


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (400, 8), (8, 400)])
def test_tiny_and_narrow_style_pictures_serve(base, size):
    style = base.adapt(tiny.style(*size), config=QUICK, steps=1)
    assert all(bool(torch.isfinite(p).all()) for p in style.state_dict().values())


def test_own_photos_teach(base, style):
    other = base.adapt(tiny.style(), contents=[tiny.content(100, 100, seed=5)], config=QUICK)
    assert other.fingerprint != style.fingerprint


def test_settings_are_checked_before_anything_is_read(base):
    with pytest.raises(ValueError, match=r"steps must be a whole number from 0 to 1000, got -1\."):
        base.adapt("missing.jpg", steps=-1)
    with pytest.raises(ImageError, match=r"There is no file 'missing\.jpg'"):
        base.adapt("missing.jpg", steps=1)
    with pytest.raises(TypeError):
        base.adapt(tiny.style(), stepps=1)


def test_what_is_recorded_is_the_arithmetic_that_was_used(base):
    made = base.adapt(tiny.style(), config=QUICK, precision="auto", steps=1)
    used = str(training_dtype(base.device)).removeprefix("torch.")
    assert made.config.adaptation["precision"] == used
    again = base.adapt(tiny.style(), config=AdaptationConfig.from_dict(made.config.adaptation))
    assert tiny.same(again.state_dict(), made.state_dict())


def test_a_feature_network_that_cannot_be_had_is_missed_before_the_first_step(base, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    slice_ = Path(torch.hub.get_dir()) / "metastyle_hub" / "vgg16_features.safetensors"
    slice_.parent.mkdir(parents=True)
    slice_.write_bytes(b"broken")
    with pytest.raises(FeatureExtractorError, match="does not hold the weights of vgg16"):
        base.adapt_iter(tiny.style(), config=QUICK, features="vgg16")


# --- saving and loading


@pytest.mark.parametrize("kind", ["style", "decoder_style", "norm_style"])
def test_what_is_saved_comes_back_bit_for_bit(base, kind, tmp_path, request):
    style, photo = request.getfixturevalue(kind), tiny.tensor(tiny.content(33, 47))
    base.save_pretrained(tmp_path / "base")
    loaded_base = MetaStyle.from_pretrained(tmp_path / "base")
    assert tiny.same(loaded_base.state_dict(), base.state_dict()) and loaded_base.fingerprint == base.fingerprint
    style.save_pretrained(tmp_path / "style")
    loaded = MetaStyle.from_pretrained(tmp_path / "style")
    assert tiny.same(loaded.state_dict(), style.state_dict())
    assert torch.equal(loaded.stylize(photo), style.stylize(photo))
    assert torch.equal(loaded.stylize(photo, strength=0.4), style.stylize(photo, strength=0.4))
    assert loaded.config == style.config and loaded.base.fingerprint == base.fingerprint


def test_a_style_holds_only_what_it_moved_and_shares_the_rest_with_its_base(base, norm_style, decoder_style, style):
    for made, moves in ((norm_style, "norm"), (decoder_style, "decoder"), (style, "all")):
        assert made._own_parameters.keys() == trainable_parameters(base.state_dict(), moves).keys()
        assert all((p is base.state_dict()[n]) == (n not in made._own_parameters) for n, p in made.state_dict().items())


def test_a_style_of_the_shipped_network_is_as_small_as_they_say(tmp_path):
    shipped = MetaStyle.from_pretrained()
    sizes = {}
    for moves in TRAINABLE:
        style = shipped.adapt(tiny.style(), steps=0, size=64, style_size=32, parameters=moves)
        sizes[moves] = (style.save_pretrained(tmp_path / moves) / "model.safetensors").stat().st_size
    assert sizes["norm"] < 17_000 and 412_000 < sizes["decoder"] < 420_000 and 6_700_000 < sizes["all"] < 6_800_000


def test_a_style_finds_the_base_that_it_was_adapted_from_in_its_folder(tmp_path):
    # in a process of its own, where no base is loaded yet
    made = MetaStyle.from_parameters(tiny.parameters(8), tiny.NETWORK).save_pretrained(tmp_path / "base")
    style = MetaStyle.from_pretrained(made).adapt(tiny.style(), config=QUICK, trainable="norm")
    style.save_pretrained(tmp_path / "style")
    done = tiny.python(
        "-c",
        "import sys; from metastyle_hub import MetaStyle; print(MetaStyle.from_pretrained(sys.argv[1]).fingerprint)",
        str(tmp_path / "style"),
    )
    assert done.stdout.strip() == style.fingerprint, done.stderr


def test_a_style_does_not_load_onto_another_base(style, tmp_path):
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK)
    style.save_pretrained(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        other.load_style(tmp_path)
    sentence = str(caught.value)
    assert style.base.fingerprint[:12] in sentence and other.fingerprint[:12] in sentence and "\n" not in sentence


def test_the_base_in_the_package_loads_and_keeps_pictures_nearly_as_they_are():
    base = MetaStyle.from_pretrained()
    assert base.is_base and sum(p.numel() for p in base.state_dict().values()) == 1_679_235
    assert MetaStyle.from_pretrained().fingerprint == base.fingerprint
    photos = [resize_short_side(to_tensor(load_image(path)), 128) for path in example_photos().values()]
    levels = [float(psnr(base.stylize(photo), photo)) for photo in photos]
    assert sum(levels) / len(levels) > 20  # dB


def test_pictures_of_another_style_do_not_stay_beside_this_one(base, style, norm_style, tmp_path):
    pictures = {"preview": tiny.content(), "style_image": tiny.style()}
    style.save_pretrained(tmp_path, **pictures, extra={"notes.txt": b"mine"})
    style.save_pretrained(tmp_path)  # the same style: its pictures are still its own
    assert (tmp_path / "preview.jpg").is_file() and (tmp_path / "style.jpg").is_file()
    norm_style.save_pretrained(tmp_path, preview=tiny.content())
    assert (tmp_path / "preview.jpg").is_file() and not (tmp_path / "style.jpg").exists()
    style.save_pretrained(tmp_path)
    assert not (tmp_path / "preview.jpg").exists() and "preview.jpg" not in (tmp_path / "README.md").read_text()
    assert (tmp_path / "notes.txt").read_bytes() == b"mine"


def test_pictures_beside_no_style_are_nobody_s_to_take_away(style, tmp_path):
    (tmp_path / "preview.jpg").write_bytes(b"mine")
    style.save_pretrained(tmp_path)
    assert (tmp_path / "preview.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["sub/x.txt", "../x", "..", "", ".", "sub\\x.txt", "a\0b", "taken", "x" * 300])
def test_further_files_that_cannot_go_into_the_folder_leave_it_as_it_was(style, norm_style, name, tmp_path):
    folder = style.save_pretrained(tmp_path / "style")
    (folder / "taken").mkdir()
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    with pytest.raises(ArtifactError) as caught:
        norm_style.save_pretrained(folder, extra={name: b"1"})
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[]", "not json", ""])
def test_another_library_s_folder_is_not_overwritten(style, text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"theirs")
    with pytest.raises(ArtifactError, match="is not overwritten; choose another folder, or move it away"):
        style.save_pretrained(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "config.json": text.encode(),
        "model.safetensors": b"theirs",
    }


# --- mixing


def test_mixing_is_mixing_parameters(base, style, norm_style):
    mix = interpolate([style, norm_style, base], [0.5, 0.3, 0.2])
    for name, p in mix.state_dict().items():
        expected = 0.5 * style.state_dict()[name] + 0.3 * norm_style.state_dict()[name] + 0.2 * base.state_dict()[name]
        torch.testing.assert_close(p, expected)
    assert mix.base.fingerprint == base.fingerprint and mix.config.mix[0]["weight"] == 0.5


def test_weights_1_and_0_give_the_first_style_bit_for_bit(style, norm_style):
    photo = tiny.contents(1)
    assert torch.equal(interpolate([style, norm_style], [1, 0]).stylize(photo), style.stylize(photo))
    assert torch.equal(interpolate([style, norm_style], [0, 1]).stylize(photo), norm_style.stylize(photo))


def test_a_mix_owns_what_the_widest_of_its_styles_owns(base, norm_style, decoder_style, style):
    for styles, moves in (([norm_style, decoder_style], "decoder"), ([decoder_style, style], "all")):
        mix = interpolate([*styles, base], [0.4, 0.4, 0.2])
        assert mix.config.trainable == moves
        assert mix._own_parameters.keys() == trainable_parameters(base.state_dict(), moves).keys()


def test_a_mix_of_norm_styles_is_one(base, norm_style, tmp_path):
    other = base.adapt(tiny.style(seed=4), config=QUICK, trainable="norm")
    mix = interpolate([norm_style, other, base], [0.4, 0.4, 0.2])
    assert mix.config.trainable == "norm"
    mix.save_pretrained(tmp_path)
    assert tiny.same(base.load_style(tmp_path).parameters, mix.state_dict())


def test_a_mix_knows_the_place_of_its_base_and_the_features_if_one_of_its_styles_does(base, norm_style):
    known = replace(norm_style.config, features="vgg16", base_model=BaseReference(base.fingerprint, "me/base", "abc"))
    shared = MetaStyle(known, norm_style.state_dict(), base)
    for styles in ([base, shared], [shared, base]):  # the base was made here and knows no place
        mix = interpolate(styles, [0.5, 0.5])
        assert mix.config.base_model == known.base_model and mix.config.features == "vgg16"


def test_the_name_of_a_mix_of_mixes_does_not_grow_without_end(style, norm_style):
    mix = interpolate([style, norm_style], [0.5, 0.5])
    assert mix.name == "50% style + 50% style"
    for _ in range(22):
        mix = interpolate([mix, interpolate([mix, style], [0.5, 0.5])], [0.5, 0.5])
    assert len(mix.name) <= 80 and mix.name.startswith("50% 50% ") and mix.name.endswith("…")
    assert len(mix.config.to_json()) < 5000


def test_styles_of_different_bases_do_not_mix(style):
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK).adapt(tiny.style(), config=QUICK, steps=0)
    with pytest.raises(InterpolationError, match="different bases"):
        interpolate([style, other], [0.5, 0.5])
    for weights in ([0.5, 0.6], [1], [-1, 2]):
        with pytest.raises(MetaStyleError):
            interpolate([style, style], weights)
    with pytest.raises(InterpolationError):
        interpolate([], [])


# --- the object


def test_repr_says_what_it_is(base, style, norm_style):
    assert repr(base) == "MetaStyle('tiny', base, on cpu)"
    assert repr(style) == "MetaStyle('style', style of all parameters, 2 steps, on cpu)"
    assert "norm parameters" in repr(norm_style)
    mix = interpolate([style, norm_style], [0.5, 0.5])
    assert repr(mix) == "MetaStyle('50% style + 50% style', style of all parameters, mixed, on cpu)"


def test_devices_that_are_not_there_are_refused(base, tmp_path):
    with pytest.raises(DeviceError, match="'cuda:99'"):
        base.to("cuda:99")
    with pytest.raises(DeviceError, match="'quantum'"):
        MetaStyle.from_pretrained(base.save_pretrained(tmp_path), device="quantum")
    assert base.to("cpu") is base


# --- dtype: of the arithmetic alone


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_half_precision_paints_nearly_the_same_picture(base, style, norm_style, dtype, tmp_path):
    base.save_pretrained(tmp_path / "base")
    style.save_pretrained(tmp_path / "style")
    half = MetaStyle.from_pretrained(tmp_path / "base", dtype=dtype).load_style(tmp_path / "style")
    assert str(half.dtype) == f"torch.{dtype}".replace("torch.torch", "torch") and half.base.dtype == half.dtype
    photo = tiny.contents(2, 40)
    painted, exact = half.stylize(photo), style.stylize(photo)
    assert painted.dtype == torch.float32 and not torch.equal(painted, exact)
    assert float((painted - exact).abs().max()) < 0.1 and float((painted - exact).abs().mean()) < 0.01
    each = half.base.stylize(photo, styles=[half.base.load_style(norm_style), half.base])
    torch.testing.assert_close(each[0], norm_style.stylize(photo[0]), rtol=0, atol=0.1)


def test_parameters_stay_float32_whatever_the_dtype(base, style, tmp_path):
    half = style.to(torch.bfloat16)
    assert tiny.same(half.state_dict(), style.state_dict()) and half.fingerprint == style.fingerprint
    assert half.base.dtype == torch.bfloat16 and half.to("cpu", torch.bfloat16) is half
    back = half.to("cpu", "float32")
    assert torch.equal(back.stylize(tiny.contents(1)), style.stylize(tiny.contents(1)))
    assert interpolate([half, style], [0.5, 0.5]).dtype == torch.bfloat16
    half.save_pretrained(tmp_path / "half")
    style.save_pretrained(tmp_path / "exact")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "exact" / name).read_bytes()


def test_a_style_learned_in_half_precision_is_the_same_style(base, style):
    learned = base.to(torch.bfloat16).adapt(tiny.style(), config=QUICK)
    assert learned.dtype == torch.bfloat16 and tiny.same(learned.state_dict(), style.state_dict())


def test_styles_keep_sharing_the_base_in_another_dtype(base, norm_style):
    half = norm_style.to(torch.float16)
    assert half.base is base.to(torch.float16)
    assert half.state_dict()["out.weight"] is half.base.state_dict()["out.weight"]


@pytest.mark.parametrize("dtype", ["half", "int8", torch.float64, "auto", 16])
def test_other_dtypes_are_refused(base, dtype, tmp_path):
    with pytest.raises(DeviceError, match="Pictures are made in float32, bfloat16, float16, not in"):
        MetaStyle.from_pretrained(base.save_pretrained(tmp_path), dtype=dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_cuda_the_picture_is_nearly_the_same(style):
    photo = tiny.tensor(tiny.content(40, 60))
    moved = style.to("cuda")
    assert moved.device.type == moved.base.device.type == "cuda"
    torch.testing.assert_close(moved.stylize(photo), style.stylize(photo), rtol=0, atol=5e-3)


def test_from_parameters_takes_a_copy():
    parameters = tiny.parameters()
    base = MetaStyle.from_parameters(parameters, tiny.NETWORK)
    fingerprint = base.fingerprint
    for p in parameters.values():
        p.zero_()
    assert MetaStyle.from_parameters(base.state_dict(), tiny.NETWORK).fingerprint == fingerprint


def test_from_parameters_refuses_what_is_not_of_the_network():
    fits = tiny.parameters()
    wrong = {
        "lacks": ({}, None),  # the default network is a larger one
        "has shape": (fits, NetworkConfig(width=6, residual_blocks=1)),
        "tensors too many": ({**fits, "surplus": torch.ones(1)}, tiny.NETWORK),
        "lacks 1 tensors, out.bias": ({k: p for k, p in fits.items() if k != "out.bias"}, tiny.NETWORK),
        "no finite numbers": ({**fits, "out.bias": torch.tensor([0.0, torch.nan, 0.0])}, tiny.NETWORK),
    }
    for said, (parameters, architecture) in wrong.items():
        with pytest.raises(ArtifactError, match=said) as caught:
            MetaStyle.from_parameters(parameters, architecture)
        assert "architecture=NetworkConfig(" in str(caught.value) and "\n" not in str(caught.value)


def test_parameters_of_another_precision_become_float32():
    half = {name: p.bfloat16() for name, p in tiny.parameters().items()}
    base = MetaStyle.from_parameters(half, tiny.NETWORK)
    assert {p.dtype for p in base.state_dict().values()} == {torch.float32}
    assert base.stylize(tiny.contents(1)).dtype == torch.float32


def test_the_settings_of_one_style_teach_another(base, style):
    again = base.adapt(tiny.style(), **style.config.adaptation)
    assert again.fingerprint == style.fingerprint and again.config == style.config
    assert AdaptationConfig(**style.config.adaptation) == QUICK
    for wrong in (3, "strong", None, [1]):
        with pytest.raises(
            SettingError, match=r"^weights must be LossWeights\(\.\.\.\) or a dict of its settings, got"
        ):
            base.adapt(tiny.style(), weights=wrong)
    with pytest.raises(SettingError, match="style_weight must be a number"):
        base.adapt(tiny.style(), weights={"style_weight": -1})


def test_a_dtype_alone_leaves_the_style_where_it_is(style):
    half = style.to(dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.device == style.device and half is style.to(torch.bfloat16)
    assert style.to(dtype="float32") is style and style.to() is style


def test_weights_of_the_loss_count(base, style):
    heavy = base.adapt(tiny.style(), config=QUICK, weights=LossWeights(content_weight=50))
    assert heavy.fingerprint != style.fingerprint
    assert heavy.config.adaptation["weights"]["content_weight"] == 50


def test_threads_paint_each_with_their_own_style(base, style):
    photo = tiny.contents(1)
    models = [base, style, interpolate([base, style], [0.5, 0.5])] * 4
    expected = [m.stylize(photo) for m in models]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for made, right in zip(pool.map(lambda m: m.stylize(photo), models), expected, strict=True):
                assert torch.equal(made, right)
