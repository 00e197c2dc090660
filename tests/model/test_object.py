"""The object: inspection, equality, copies on other devices and in other dtypes, pickles, notebook previews."""

from __future__ import annotations

import gc
import io
import pickle
import weakref

import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub import MetaStyle, interpolate
from metastyle_hub.errors import DeviceError
from metastyle_hub.networks.transformer_net import NetworkConfig

# --- inspection


def test_repr_states_name_kind_and_device(base, style, norm_style):
    assert repr(base) == "MetaStyle('tiny', base, on cpu)"
    assert repr(style) == "MetaStyle('style', style of all parameters, 2 steps, on cpu)"
    assert "norm parameters" in repr(norm_style)
    mix = interpolate([style, norm_style], [0.5, 0.5])
    assert "'50% style + 50% style'" in repr(mix) and "all parameters" in repr(mix) and "steps" not in repr(mix)


def test_state_dict_has_the_parameters_of_the_whole_network(base, norm_style):
    for model in (base, norm_style):
        state = model.state_dict()
        assert {name: p.shape for name, p in state.items()} == {n: p.shape for n, p in tiny.parameters().items()}
        assert {p.dtype for p in state.values()} == {torch.float32}
        state.pop("to_rgb.bias")  # the dictionary is the caller's
        assert "to_rgb.bias" in model.state_dict()
    assert tiny.same(base.state_dict(), tiny.parameters())


def test_num_parameters_counts_all_or_those_that_a_style_stores():
    shipped = MetaStyle.from_pretrained()
    options = {"steps": 0, "crop_size": 64, "style_size": 32, "progress": False}
    assert shipped.num_parameters() == shipped.num_parameters(only_own=True) == 1_679_235
    for trainable, count in (("norm", 3_200), ("decoder", 103_235), ("all", 1_679_235)):
        style = shipped.adapt(tiny.style(), trainable=trainable, **options)
        assert style.num_parameters() == 1_679_235 and style.num_parameters(only_own=True) == count


def test_renamed_gives_the_same_style_under_another_name(base, style):
    renamed = style.renamed("Starry")
    assert renamed.name == "Starry" and style.name == "style"
    assert renamed == style and renamed.base is base
    assert base.renamed("other").is_base and base.renamed("other").name == "other"


def test_a_notebook_shows_a_png(style):
    image = Image.open(io.BytesIO(style._repr_png_()))
    assert image.format == "PNG" and min(image.size) == 256


# --- equality


def test_styles_are_equal_if_their_parameters_are(base, style, norm_style):
    again = base.adapt(tiny.style(), config=tiny.QUICK, name="another name", progress=False)
    assert again is not style and again == style and hash(again) == hash(style)
    assert style != norm_style and style != base and base != norm_style
    assert len({style, again, norm_style, base}) == 3
    assert style != style.fingerprint and style != None and style != 3  # noqa: E711


def test_a_base_and_a_style_of_the_same_parameters_differ(base):
    unchanged = base.adapt(tiny.style(), config=tiny.QUICK, steps=0, progress=False)
    assert unchanged.fingerprint == base.fingerprint and unchanged != base


def test_another_output_or_architecture_is_another_style():
    parameters = tiny.parameters()
    plain = MetaStyle.from_parameters(parameters, tiny.NETWORK)
    clamped = MetaStyle.from_parameters(parameters, tiny.NETWORK, output_activation="clamp")
    nearest = MetaStyle.from_parameters(parameters, NetworkConfig(4, 1, upsampling="nearest"))
    assert plain != clamped and plain != nearest and plain == MetaStyle.from_parameters(parameters, tiny.NETWORK)


def test_one_different_value_makes_another_fingerprint(base):
    changed = {name: p.clone() for name, p in base.state_dict().items()}
    changed["to_rgb.bias"][1] += 1e-6
    other = MetaStyle.from_parameters(changed, tiny.NETWORK)
    assert len(base.fingerprint) == 64 and other.fingerprint != base.fingerprint and other != base


def test_a_pickled_style_stays_equal(base, norm_style):
    for model in (base, norm_style, norm_style.to("bfloat16")):
        copy = pickle.loads(pickle.dumps(model))
        assert copy == model and hash(copy) == hash(model)
        assert copy.config == model.config and copy.dtype == model.dtype
        assert copy.is_base == model.is_base and copy.base == model.base
        assert torch.equal(copy.stylize(tiny.contents(1)), model.stylize(tiny.contents(1)))
        assert copy.to("float32").dtype == torch.float32
    further = pickle.loads(pickle.dumps(base)).adapt(tiny.style(), config=tiny.QUICK, progress=False)
    assert further == base.adapt(tiny.style(), config=tiny.QUICK, progress=False)


# --- devices


def test_devices_that_do_not_exist_are_refused(base, tmp_path):
    with pytest.raises(DeviceError) as error:
        base.to("cuda:99")
    assert "'cuda:99'" in str(error.value)
    with pytest.raises(DeviceError) as error:
        MetaStyle.from_pretrained(base.save_pretrained(tmp_path), device="quantum")
    assert "'quantum'" in str(error.value)
    assert base.to("cpu") is base


def test_no_device_is_the_cpu():
    assert MetaStyle.from_pretrained().device == torch.device("cpu")
    assert MetaStyle.from_pretrained(device=None) is MetaStyle.from_pretrained(device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_on_cuda_the_image_is_nearly_the_same(base, style, norm_style):
    content = tiny.tensor(tiny.content(40, 60))
    moved = style.to("cuda")
    assert moved.device.type == moved.base.device.type == "cuda"
    torch.testing.assert_close(moved.stylize(content), style.stylize(content), rtol=0, atol=5e-3)
    contents = [tiny.contents(1)[0], tiny.contents(2, seed=3), content[0]]  # the first two share a pass
    styles = [style, norm_style, base]
    together = moved.stylize(contents, styles=styles)
    for made, image, own in zip(together, contents, styles, strict=True):
        assert made.shape == image.shape and made.device.type == "cpu"
        torch.testing.assert_close(made, own.stylize(image), rtol=0, atol=5e-3)


# --- dtypes: of the arithmetic alone


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_half_precision_gives_nearly_the_same_image(base, style, norm_style, dtype, tmp_path):
    base.save_pretrained(tmp_path / "base")
    style.save_pretrained(tmp_path / "style")
    half = MetaStyle.from_pretrained(tmp_path / "base", dtype=dtype).load_style(tmp_path / "style")
    assert str(half.dtype) == f"torch.{dtype}".replace("torch.torch", "torch") and half.base.dtype == half.dtype
    contents = tiny.contents(2, 40)
    made, exact = half.stylize(contents), style.stylize(contents)
    assert made.dtype == torch.float32 and not torch.equal(made, exact)
    assert float((made - exact).abs().max()) < 0.1 and float((made - exact).abs().mean()) < 0.01
    each = half.base.stylize(contents, styles=[half.base.load_style(norm_style), half.base])
    torch.testing.assert_close(each[0], norm_style.stylize(contents[0]), rtol=0, atol=0.1)


def test_parameters_stay_float32_whatever_the_dtype(base, style, tmp_path):
    half = style.to(torch.bfloat16)
    assert tiny.same(half.state_dict(), style.state_dict()) and half.fingerprint == style.fingerprint and half == style
    assert half.base.dtype == torch.bfloat16 and half.to("cpu", torch.bfloat16) is half
    back = half.to("cpu", "float32")
    assert torch.equal(back.stylize(tiny.contents(1)), style.stylize(tiny.contents(1)))
    assert interpolate([half, style], [0.5, 0.5]).dtype == torch.bfloat16
    half.save_pretrained(tmp_path / "half")
    style.save_pretrained(tmp_path / "exact")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "exact" / name).read_bytes()


def test_a_style_adapted_in_half_precision_is_the_same_style(base, style):
    adapted = base.to(torch.bfloat16).adapt(tiny.style(), config=tiny.QUICK, progress=False)
    assert adapted.dtype == torch.bfloat16 and tiny.same(adapted.state_dict(), style.state_dict())


def test_styles_share_the_base_in_another_dtype(base, norm_style):
    half = norm_style.to(torch.float16)
    assert half.base is base.to(torch.float16)
    assert half.state_dict()["to_rgb.weight"] is half.base.state_dict()["to_rgb.weight"]


def test_to_takes_a_dtype_alone_by_name_or_as_a_keyword(style):
    half = style.to("bfloat16")
    assert half.dtype == torch.bfloat16 and half.device == style.device
    assert half is style.to(torch.bfloat16) and half is style.to(dtype=torch.bfloat16)
    assert half is style.to("cpu", "bfloat16") and half is style.to(device="cpu", dtype="torch.bfloat16")
    assert half.to("float32").dtype == torch.float32
    assert style.to(dtype="float32") is style and style.to() is style and style.to("float32") is style


@pytest.mark.parametrize("dtype", ["half", "int8", torch.float64, "auto", 16])
def test_other_dtypes_are_refused(base, dtype, tmp_path):
    with pytest.raises(DeviceError) as error:
        MetaStyle.from_pretrained(base.save_pretrained(tmp_path), dtype=dtype)
    assert str(dtype) in str(error.value) and "bfloat16" in str(error.value)
    if dtype != "auto":  # which is a device
        with pytest.raises(DeviceError) as error:
            base.to(dtype)
        assert str(dtype) in str(error.value)


def test_copies_are_shared_while_they_are_used_and_then_released():
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    copy = base.to("float16")
    assert base.to("float16") is copy
    reference = weakref.ref(copy)
    del copy
    gc.collect()
    assert reference() is None and base.to("float16").dtype == torch.float16
