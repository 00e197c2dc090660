"""An interpolation is the convex combination of its styles."""

import pytest
import tiny
import torch

from metastyle_hub.errors import InterpolationError, MetaStyleError
from metastyle_hub.interpolation import check_weights, interpolate_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig


def styles(count: int) -> list:
    return [tiny.parameters(seed) for seed in range(count)]


def test_an_interpolation_is_the_weighted_sum_of_every_parameter():
    a, b, c = styles(3)
    mixed = interpolate_parameters([a, b, c], [0.5, 0.3, 0.2])
    assert mixed.keys() == a.keys()
    for name, p in mixed.items():
        torch.testing.assert_close(p, 0.5 * a[name] + 0.3 * b[name] + 0.2 * c[name])


def test_without_weights_all_styles_count_alike():
    a, b, c = styles(3)
    assert check_weights(None, 4) == [0.25] * 4
    assert tiny.same(interpolate_parameters([a, b, c]), interpolate_parameters([a, b, c], [1 / 3] * 3))
    assert tiny.same(interpolate_parameters([a]), a)


def test_weight_1_gives_that_style_bit_for_bit():
    a, b = styles(2)
    assert tiny.same(interpolate_parameters([a, b], [1, 0]), a)
    assert tiny.same(interpolate_parameters([a, b], [0, 1]), b)
    assert tiny.same(interpolate_parameters([a], [1]), a)


def test_a_style_of_weight_0_does_not_count_whatever_its_values():
    a, b = styles(2)
    b = {name: torch.full_like(p, torch.inf) for name, p in b.items()}
    assert tiny.same(interpolate_parameters([a, b], [1, 0]), a)


def test_equal_styles_interpolate_to_themselves():
    (a,) = styles(1)
    mixed = interpolate_parameters([a, a, a], [0.2, 0.5, 0.3])
    for name, p in mixed.items():
        torch.testing.assert_close(p, a[name], rtol=1e-6, atol=1e-7)


def test_the_result_shares_no_memory_with_the_styles():
    a, b = styles(2)
    before = {name: p.clone() for name, p in a.items()}
    for weights in ([1, 0], [0.5, 0.5]):
        for p in interpolate_parameters([a, b], weights).values():
            p.zero_()
    assert tiny.same(a, before)


def test_a_sum_that_is_1_up_to_rounding_counts_as_1():
    a, b, c = styles(3)
    assert sum([1 / 3] * 3) == pytest.approx(1) and check_weights([1 / 3, 1 / 3, 1 / 3], 3)
    thirds = interpolate_parameters([a, b, c], [0.333333, 0.333333, 0.333334])
    expected = (a["to_rgb.bias"] + b["to_rgb.bias"] + c["to_rgb.bias"]) / 3
    torch.testing.assert_close(thirds["to_rgb.bias"], expected)
    # and what is used sums to exactly 1: equal styles give themselves
    ones = {"p": torch.ones(1, dtype=torch.float64)}
    assert float(interpolate_parameters([ones] * 3, [0.3333331, 0.3333331, 0.3333331])["p"]) == pytest.approx(
        1, abs=1e-15
    )


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ([0.5, 0.6], "0.5, 0.6"),
        ([-0.5, 1.5], "-0.5, 1.5"),
        ([float("nan"), 1], "nan, 1"),
        ([float("inf"), 0], "inf, 0"),
        ([0, 0], "0, 0"),
        ([0.5, 0.50001], "0.5, 0.50001"),
        ([1], "1 weights"),
        ([], "0 weights"),
        (0.5, "0.5"),
        ("ab", "'ab'"),
        ([0.5, None], "None"),
    ],
)
def test_weights_of_no_convex_combination_are_refused(weights, named):
    with pytest.raises(InterpolationError) as error:
        interpolate_parameters(styles(2), weights)
    assert named in str(error.value) and "\n" not in str(error.value)
    assert isinstance(error.value, MetaStyleError) and isinstance(error.value, ValueError)


def test_no_styles_are_refused():
    for weights in ([], None):
        with pytest.raises(InterpolationError):
            interpolate_parameters([], weights)


def test_styles_of_different_architectures_are_refused():
    narrow = tiny.parameters(config=NetworkConfig(width=2, residual_blocks=1))
    deeper = tiny.parameters(config=NetworkConfig(width=4, residual_blocks=2))
    for other in (narrow, deeper):
        with pytest.raises(InterpolationError) as error:
            interpolate_parameters([tiny.parameters(), other], [0.5, 0.5])
        assert "architecture" in str(error.value)


def test_weights_below_0_extrapolate_on_request():
    first, second = ({"p": torch.tensor([value], dtype=torch.float64)} for value in (3.0, 1.0))
    assert float(interpolate_parameters([first, second], [1.5, -0.5], convex=False)["p"]) == pytest.approx(4, abs=1e-12)
    assert check_weights([1.3, -0.3], 2, convex=False) == [1.3, -0.3]
    for weights in ([1.3, -0.2], [float("inf"), float("-inf")], [float("nan"), 1]):
        with pytest.raises(InterpolationError):
            check_weights(weights, 2, convex=False)
