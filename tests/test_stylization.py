"""Pictures of every size come back in their size, and large ones in tiles as if they had gone through whole."""

from __future__ import annotations

import pytest
import tiny
import torch

from metastyle_hub.networks.transformer_net import TransformerNet, NetworkConfig, transform
from metastyle_hub.networks.param_groups import TRAINABLE, trainable_parameters
from metastyle_hub.stylization import stylize_each, stylize_tensor
from metastyle_hub.tiling import TilingConfig, transform_in_tiles

NETWORK = TransformerNet(tiny.NETWORK)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 200), (33, 47), (64, 64)])
def test_the_result_has_the_size_of_the_picture(size):
    photo = tiny.tensor(tiny.content(*size))
    result = stylize_tensor(NETWORK, tiny.parameters(), photo)
    assert result.shape == photo.shape
    assert float(result.min()) >= 0 and float(result.max()) <= 1


def test_a_picture_that_fits_goes_through_as_it_is():
    photo = tiny.contents(2, 64)
    with torch.no_grad():
        assert torch.equal(
            stylize_tensor(NETWORK, tiny.parameters(), photo), transform(NETWORK, tiny.parameters(), photo)
        )


@pytest.mark.parametrize("size", [(64, 64), (100, 164), (32, 300), (301, 33)])
@pytest.mark.parametrize("tile", [16, 40, 128])
@pytest.mark.parametrize("config", [NetworkConfig(3, 0, False, "nearest"), NetworkConfig(8, 2)], ids=str)
def test_tiles_make_the_picture_that_the_whole_makes(size, tile, config):
    network, parameters = TransformerNet(config), tiny.parameters(config=config)
    photo = tiny.tensor(tiny.content(*size))
    whole = stylize_tensor(network, parameters, photo)
    tiled = stylize_tensor(network, parameters, photo, TilingConfig(threshold=0, tile=tile))
    assert tiled.shape == whole.shape and float(whole.std()) > 0.02
    assert float((tiled - whole).abs().max()) < 1e-4


def test_tiles_share_the_statistics_of_the_whole_picture():
    # half of this picture is black: tiles normalised by themselves would brighten it
    photo = tiny.contents(1, 96)
    photo[..., :48] = 0
    parameters = tiny.parameters()
    with torch.no_grad():
        whole = transform(NETWORK, parameters, photo)
        alone = torch.cat([transform(NETWORK, parameters, half) for half in photo.split(48, -1)], -1)
    tiled = transform_in_tiles(NETWORK, parameters, photo, TilingConfig(tile=48))
    assert float((alone - whole).abs().mean()) > 0.01
    assert float((tiled - whole).abs().max()) < 1e-4


def test_networks_that_clamp_do_so_in_tiles():
    network = TransformerNet(tiny.NETWORK, output="clamp")
    photo = tiny.contents(1, 64)
    parameters = tiny.parameters()
    tiled = stylize_tensor(network, parameters, photo, TilingConfig(threshold=0, tile=32))
    torch.testing.assert_close(tiled, stylize_tensor(network, parameters, photo), rtol=0, atol=1e-4)


def test_every_picture_of_a_batch_in_its_own_style():
    base, other = tiny.parameters(0), tiny.parameters(1)
    styles = [base, *({**base, **trainable_parameters(other, moves)} for moves in TRAINABLE)]
    photo = tiny.contents(1).expand(4, -1, -1, -1)
    alone = torch.cat([stylize_tensor(NETWORK, p, photo[:1]) for p in styles])
    for chosen in ([0, 1], [0, 1, 2], [0, 1, 2, 3]):  # norms differ, or the decoder as well, in one pass; or everything
        together = stylize_each(NETWORK, [styles[i] for i in chosen], photo[: len(chosen)])
        torch.testing.assert_close(together, alone[chosen], rtol=0, atol=1e-5)
    own = trainable_parameters(base, "decoder")
    stacked = {n: torch.stack([styles[0][n], styles[2][n]]) if n in own else p for n, p in base.items()}
    tiled = stylize_tensor(NETWORK, stacked, photo[:2], TilingConfig(threshold=0, tile=16))
    torch.testing.assert_close(tiled, alone[[0, 2]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("threshold", [2 * 32 * 32, 3 * 32 * 32 + 5, 100 * 32 * 32])
def test_a_batch_goes_through_in_parts_no_larger_than_one_picture_may_be(threshold):
    base = tiny.parameters(0)
    styles = [{**base, **trainable_parameters(tiny.parameters(s), "decoder")} for s in range(5)]
    own = trainable_parameters(base, "decoder")
    stacked = {n: torch.stack([s[n] for s in styles]) if n in own else p for n, p in base.items()}
    photos, seen = tiny.contents(5), []
    hook = NETWORK.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][:, 0].numel()))
    try:
        made = stylize_tensor(NETWORK, stacked, photos, TilingConfig(threshold=threshold))
    finally:
        hook.remove()
    assert max(seen) <= threshold and sum(seen) == 5 * 32 * 32
    alone = torch.cat([stylize_tensor(NETWORK, s, photo[None]) for s, photo in zip(styles, photos, strict=True)])
    torch.testing.assert_close(made, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tile", [0, 8, 30])
def test_tiles_that_the_network_cannot_take_are_refused(tile):
    with pytest.raises(ValueError, match=f"tile must be a multiple of 4 and at least 16, got {tile}"):
        TilingConfig(tile=tile)
