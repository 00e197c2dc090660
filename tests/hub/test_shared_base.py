"""Many styles of one base: shared parameters, and a style for each image of a batch."""

from __future__ import annotations

import copy
import pickle

import pytest
import tiny
import torch
from hub_fixtures import content, make_style

from metastyle_hub import MetaStyle, interpolate
from metastyle_hub.errors import ArtifactError
from metastyle_hub.networks.param_groups import TRAINABLE, is_norm_parameter


def test_ten_styles_share_one_base(hub, base, tmp_path):
    base.push_to_hub("me/base")
    shared = MetaStyle.from_pretrained("me/base")
    for i in range(10):
        make_style(shared, i).save_pretrained(tmp_path / str(i))
    styles = [shared.load_style(tmp_path / str(i)) for i in range(5)]
    styles += [MetaStyle.from_pretrained(tmp_path / str(i)) for i in range(5, 10)]
    for style in styles:
        assert style.base is shared
        for name, p in style.state_dict().items():
            assert is_norm_parameter(name) or p is shared.state_dict()[name]
    mixed = interpolate(styles[:2], [0.5, 0.5])
    assert mixed.state_dict()["to_rgb.weight"] is shared.state_dict()["to_rgb.weight"]
    assert shared.load_style(styles[3]).base is shared
    with pytest.raises(ArtifactError):
        MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK).load_style(tmp_path / "0")


@pytest.mark.parametrize("trainable", TRAINABLE)
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_every_image_of_a_batch_has_its_own_style(base, trainable, strength):
    styles = [make_style(base, i, trainable) for i in range(3)]
    batch = torch.cat([content(i) for i in range(3)])
    alone = torch.cat([s.stylize(x[None], strength=strength) for s, x in zip(styles, batch, strict=True)])
    together = base.stylize(batch, styles=styles, strength=strength)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_images_of_several_sizes_and_modes_in_several_styles(base):
    styles = [make_style(base, i) for i in range(3)] + [base]
    photos = [tiny.image(tiny.content(40, 52)), tiny.image(tiny.content(32, 32)), tiny.image(tiny.content(40, 52, 2))]
    photos += [tiny.image(tiny.content(33, 47)).convert("RGBA")]
    together = base.stylize(photos, styles=styles, preserve_color=True, size=32)
    for result, image, style in zip(together, photos, styles, strict=True):
        alone = style.stylize(image, preserve_color=True, size=32)
        assert result.size == alone.size and result.mode == alone.mode
        assert max(abs(a - b) for a, b in zip(result.tobytes(), alone.tobytes(), strict=True)) <= 1


def test_styles_that_do_not_fit_a_batch_are_refused(base):
    style, stranger = make_style(base, 1), MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK)
    with pytest.raises(ValueError) as error:
        base.stylize(torch.cat([content(), content()]), styles=[style])
    assert "1" in str(error.value) and "2" in str(error.value)
    with pytest.raises(ValueError):
        base.stylize([content(), content()], styles=[style, stranger])


def test_a_style_can_be_copied_and_pickled(base):
    style = make_style(base, 1)
    for again in (copy.deepcopy(style), pickle.loads(pickle.dumps(style))):
        assert torch.equal(again.stylize(content()), style.stylize(content()))
