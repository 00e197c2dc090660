"""Between styles lies their convex combination, and nothing else."""

import pytest
import tiny
import torch

from metastyle_hub.errors import MetaStyleError
from metastyle_hub.interpolation import InterpolationError, check_weights, combine
from metastyle_hub.networks.transformer_net import NetworkConfig


def styles(count: int) -> list:
    return [tiny.parameters(seed) for seed in range(count)]


def test_it_is_the_weighted_sum_of_every_parameter():
    a, b, c = styles(3)
    mixed = combine([a, b, c], [0.5, 0.3, 0.2])
    assert mixed.keys() == a.keys()
    for name, p in mixed.items():
        torch.testing.assert_close(p, 0.5 * a[name] + 0.3 * b[name] + 0.2 * c[name])


def test_weight_1_gives_that_style_bit_for_bit():
    a, b = styles(2)
    assert tiny.same(combine([a, b], [1, 0]), a)
    assert tiny.same(combine([a, b], [0, 1]), b)
    assert tiny.same(combine([a], [1]), a)


def test_a_style_of_weight_0_has_no_part_whatever_it_holds():
    a, b = styles(2)
    b = {name: torch.full_like(p, torch.inf) for name, p in b.items()}
    assert tiny.same(combine([a, b], [1, 0]), a)


def test_equal_styles_mix_to_themselves():
    (a,) = styles(1)
    mixed = combine([a, a, a], [0.2, 0.5, 0.3])
    for name, p in mixed.items():
        torch.testing.assert_close(p, a[name], rtol=1e-6, atol=1e-7)


def test_the_result_shares_nothing_with_the_styles():
    a, b = styles(2)
    before = {name: p.clone() for name, p in a.items()}
    for weights in ([1, 0], [0.5, 0.5]):
        for p in combine([a, b], weights).values():
            p.zero_()
    assert tiny.same(a, before)


def test_a_sum_that_is_1_but_for_rounding_counts_as_1():
    a, b, c = styles(3)
    assert sum([1 / 3] * 3) == pytest.approx(1) and check_weights([1 / 3, 1 / 3, 1 / 3], 3)
    thirds = combine([a, b, c], [0.333333, 0.333333, 0.333334])
    torch.testing.assert_close(thirds["out.bias"], (a["out.bias"] + b["out.bias"] + c["out.bias"]) / 3)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.5, 0.6], "Weights must be >= 0 and sum to 1, got 0.5, 0.6."),
        ([-0.5, 1.5], "Weights must be >= 0 and sum to 1, got -0.5, 1.5."),
        ([float("nan"), 1], "Weights must be >= 0 and sum to 1, got nan, 1."),
        ([float("inf"), 0], "Weights must be >= 0 and sum to 1, got inf, 0."),
        ([0, 0], "Weights must be >= 0 and sum to 1, got 0, 0."),
        ([1], "2 styles need 2 weights, at least one of each, got 1 weights."),
        ([], "2 styles need 2 weights, at least one of each, got 0 weights."),
    ],
)
def test_weights_that_are_no_convex_combination_are_refused(weights, said):
    with pytest.raises(InterpolationError) as caught:
        combine(styles(2), weights)
    assert str(caught.value) == said and isinstance(caught.value, MetaStyleError)


def test_no_styles_are_refused():
    with pytest.raises(InterpolationError):
        combine([], [])


def test_styles_of_different_architectures_are_refused():
    narrow = tiny.parameters(config=NetworkConfig(width=2, residual_blocks=1))
    deeper = tiny.parameters(config=NetworkConfig(width=4, residual_blocks=2))
    for other in (narrow, deeper):
        with pytest.raises(InterpolationError, match="one architecture"):
            combine([tiny.parameters(), other], [0.5, 0.5])
