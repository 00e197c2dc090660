"""The losses are their formulas, have their gradients, and stay finite for every image."""

import pytest
import tiny
import torch
import torch.nn.functional as F

from metastyle_hub.errors import SettingError
from metastyle_hub.losses import (
    MAX_STYLE_SCALES,
    LossWeights,
    PerceptualLoss,
    checkerboard_loss,
    coarse_tones,
    content_loss,
    gram_matrix,
    outlier_penalty,
    style_loss,
    tone_fit,
    tone_loss,
    total_variation,
)


def maps(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_gram_matrix_is_the_mean_product_of_channels():
    f = maps(0, 2, 5, 6, 7)
    torch.testing.assert_close(gram_matrix(f), torch.einsum("bchw,bdhw->bcd", f, f) / (5 * 6 * 7))


def test_gram_matrix_is_symmetric_and_positive_semidefinite():
    gram = gram_matrix(maps(1, 3, 8, 2, 3))  # fewer positions than channels: rank 6 of 8
    torch.testing.assert_close(gram, gram.mT)
    assert float(torch.linalg.eigvalsh(gram).min()) > -1e-12
    assert torch.linalg.matrix_rank(gram, rtol=1e-9).tolist() == [6, 6, 6]


def test_gram_matrix_does_not_depend_on_positions():
    f = maps(2, 1, 4, 5, 6)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = f.flatten(2)[..., order].reshape(f.shape)
    assert not torch.equal(f, shuffled)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(f))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gram_matrix_sums_in_float32(dtype):
    # 65,536 ones: a sum in eight or eleven bits would stop growing long before
    gram = gram_matrix(torch.ones(1, 2, 256, 256, dtype=dtype))
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.full((1, 2, 2), 0.5))


def test_the_gradient_of_a_gram_matrix_is_right_once_and_twice():
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(gram_matrix, features)
    torch.autograd.gradgradcheck(gram_matrix, features)


def test_the_gradient_of_a_gram_matrix_in_bfloat16_is_that_in_float32():
    torch.manual_seed(0)
    features, weights = torch.rand(1, 8, 16, 16).bfloat16(), torch.randn(1, 8, 8)

    def gradient(x):
        return torch.autograd.grad((gram_matrix(x.requires_grad_()) * weights).sum(), x)[0]

    exact, quick = gradient(features.float()), gradient(features)
    assert quick.dtype == torch.bfloat16
    assert (quick.float() - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (50, 43)], ids=str)  # one product, whole ones, and some over
def test_a_gram_matrix_of_bfloat16_features_has_four_digits(size):
    features = torch.randn(2, 16, *size).relu().bfloat16().contiguous(memory_format=torch.channels_last)
    exact = gram_matrix(features.double())
    found = gram_matrix(features)
    assert found.dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 2e-3


def test_the_gradient_of_the_content_loss_is_right_once_and_twice():
    features, target = (torch.randn(2, 3, 4, 5, dtype=torch.float64) for _ in range(2))
    features.requires_grad_()
    torch.autograd.gradcheck(content_loss, (features, target))
    torch.autograd.gradgradcheck(content_loss, (features, target))


def test_content_loss_is_0_on_itself_and_1_for_black():
    f = maps(3, 2, 4, 5, 5)
    assert content_loss(f, f).tolist() == [0, 0]
    torch.testing.assert_close(content_loss(torch.zeros_like(f), f), torch.ones(2, dtype=f.dtype))
    torch.testing.assert_close(content_loss(1.5 * f, f), torch.full((2,), 0.25, dtype=f.dtype))


def test_style_loss_is_0_on_itself_and_1_for_black():
    grams = [gram_matrix(maps(4, 2, 4, 5, 5)), gram_matrix(maps(5, 2, 6, 3, 3))]
    assert style_loss(grams, grams).tolist() == [0, 0]
    torch.testing.assert_close(style_loss([0 * g for g in grams], grams), torch.ones(2, dtype=torch.float64))


def test_style_loss_is_the_mean_over_taps_of_relative_distances():
    ours = [gram_matrix(maps(6, 3, 4, 5, 5)), gram_matrix(maps(7, 3, 6, 3, 3))]
    target = [gram_matrix(maps(8, 1, 4, 5, 5)), gram_matrix(maps(9, 1, 6, 3, 3))]
    by_hand = [
        sum(float(((g[i] - t[0]) ** 2).sum() / (t[0] ** 2).sum()) for g, t in zip(ours, target, strict=True)) / 2
        for i in range(3)
    ]
    assert style_loss(ours, target).tolist() == pytest.approx(by_hand, rel=1e-6)


def test_taps_without_a_target_are_an_error_and_not_left_out():
    grams = [gram_matrix(maps(4, 1, 4, 5, 5))] * 2
    with pytest.raises(ValueError):
        style_loss(grams, grams[:1])


def test_total_variation_is_the_mean_squared_difference_of_neighbors():
    assert total_variation(torch.full((2, 3, 5, 5), 0.3)).tolist() == [0, 0]
    ramp = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 3, 4, 6)
    assert total_variation(ramp).tolist() == [1]  # differences of 1 to the right, none downwards
    assert total_variation(ramp.mT).tolist() == [1]


def perceptual(weights: LossWeights | None = None, dtype: torch.dtype = torch.float64) -> PerceptualLoss:
    return PerceptualLoss(tiny.features(dtype=dtype), weights)


def test_one_style_serves_a_whole_batch():
    loss = perceptual()
    contents, x = tiny.contents(3, dtype=torch.float64), tiny.contents(3, seed=5, dtype=torch.float64)
    style = tiny.tensor(tiny.style(), torch.float64)  # of another size than the contents
    one = loss(x, loss.targets(contents, loss.style_grams(style)))
    each = loss(x, loss.targets(contents, loss.style_grams(style.expand(3, -1, -1, -1))))
    alone = [loss(x[i : i + 1], loss.targets(contents[i : i + 1], loss.style_grams(style))) for i in range(3)]
    for k in range(3):
        assert one[k].shape == (3,)
        torch.testing.assert_close(one[k], each[k])
        torch.testing.assert_close(one[k], torch.cat([terms[k] for terms in alone]))


def test_the_loss_of_an_image_as_its_own_content_and_style_is_0():
    loss, x = perceptual(), tiny.contents(1, dtype=torch.float64)
    total, content, style = (float(t) for t in loss(x, loss.targets(x, loss.style_grams(x))))
    assert (content, style) == (0, 0)
    w = loss.weights
    checkerboard = w.checkerboard_weight * float(checkerboard_loss(x))
    assert checkerboard <= total < checkerboard + 0.05 * w.tone_weight  # the ridge of the fit leaves a little tone


def test_the_total_is_the_weighted_sum_of_its_terms():
    weights = LossWeights(content_weight=2, style_weight=30, tv_weight=7, tone_weight=5, checkerboard_weight=3)
    c, x = (tiny.contents(2, seed=seed, dtype=torch.float64) for seed in (0, 9))
    loss = perceptual(weights)
    total, content, style = loss(x, loss.targets(c, loss.style_grams(c[:1])))
    assert float(content.min()) > 0 and float(style.max()) > 0
    tone = tone_loss(x, tone_fit(c))
    others = 7 * total_variation(x) + 5 * tone + 3 * checkerboard_loss(x)
    torch.testing.assert_close(total, 2 * content + 30 * style + others)


def test_style_is_compared_at_full_size_at_half_and_at_a_quarter():
    x, s = tiny.contents(2, 64, dtype=torch.float64), tiny.contents(1, 48, seed=9, dtype=torch.float64)
    fine, coarse = (perceptual(LossWeights(coarse_weight=share, style_scales=3)) for share in (0, 0.25))
    parts = []
    for k in (1, 2, 4):
        small, style = F.avg_pool2d(x, k), F.avg_pool2d(s, k)
        parts.append(fine(small, fine.targets(small, fine.style_grams(style)))[2])
    made = coarse(x, coarse.targets(x, coarse.style_grams(s)))[2]
    torch.testing.assert_close(made, parts[0] + 0.25 * (parts[1] + parts[2]))
    # Gram matrices of further scales are ignored
    torch.testing.assert_close(fine(x, fine.targets(x, fine.style_grams(s, MAX_STYLE_SCALES)))[2], parts[0])


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (13, 130)])
def test_images_with_odd_sides_have_a_loss(size):
    loss = perceptual(dtype=torch.float32)
    c, x = (torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(i)) for i in range(2))
    assert all(bool(term.isfinite().all()) for term in loss(x, loss.targets(c, loss.style_grams(c))))


def test_content_alone_is_the_content_of_the_whole_loss():
    loss, c, x = perceptual(), tiny.contents(2, dtype=torch.float64), tiny.contents(2, seed=9, dtype=torch.float64)
    torch.testing.assert_close(loss.content(x, c), loss(x, loss.targets(c, loss.style_grams(c)))[1])


def test_any_palette_has_a_tone_loss_near_0_but_a_blob_has_not():
    content = tiny.contents(1, 128, dtype=torch.float64)
    swap = torch.tensor([[0.2, 0.7, 0.0], [0.0, 0.1, 0.8], [0.9, 0.0, 0.1]], dtype=content.dtype)
    recolored = torch.einsum("ij,bjhw->bihw", swap, 1 - content)
    blob = recolored.clone()
    blob[..., 32:80, 48:96] = torch.tensor([1.0, 0.0, 0.0], dtype=content.dtype)[:, None, None]
    strokes = recolored + 0.2 * torch.tensor([1.0, -1.0], dtype=content.dtype).repeat(64)  # finer than a tone
    fit = tone_fit(content)
    plain, with_blob, with_strokes = (float(tone_loss(x, fit)) for x in (recolored, blob, strokes))
    assert plain < 0.05
    assert with_blob > plain + 0.1
    assert with_strokes == pytest.approx(plain, abs=1e-6)


def test_the_tone_loss_is_the_share_that_least_squares_leaves():
    content, x = (tiny.contents(2, 128, seed=seed, dtype=torch.float64) for seed in (0, 5))
    found = tone_loss(x, tone_fit(content))
    for i in range(2):
        c, y = (tones[i].flatten(1).T for tones in (coarse_tones(content), coarse_tones(x)))  # (64, 3)
        assert c.shape == (64, 3)
        basis = torch.cat([torch.ones(64, 1, dtype=c.dtype), c, c**2], 1)
        ridge = (1e-3 * 64) ** 0.5 * torch.eye(7, dtype=c.dtype)
        system, target = torch.cat([basis, ridge]), torch.cat([y, torch.zeros(7, 3, dtype=c.dtype)])
        residual = (y - basis @ torch.linalg.lstsq(system, target).solution).square().mean()
        variance = (y - y.mean(0)).square().mean()
        assert float(found[i]) == pytest.approx(float(residual / (variance + 1e-3)), rel=1e-6)


def test_coarse_tones_are_means_over_16_pixels():
    x = tiny.contents(1, 32, dtype=torch.float64)
    torch.testing.assert_close(coarse_tones(x)[..., 1, 0], x[..., 16:, :16].mean((2, 3)))
    assert coarse_tones(torch.rand(1, 3, 33, 16)).shape == (1, 3, 3, 1)


def test_only_what_repeats_every_4_pixels_is_a_checkerboard_artifact():
    content = tiny.contents(1, 128, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")

    def with_wave(period: float, start: int = 0) -> torch.Tensor:
        return content + 0.1 * torch.cos(2 * torch.pi * (rows + columns + start) / period)

    clean = float(checkerboard_loss(content))
    assert clean < 0.01
    assert float(checkerboard_loss(with_wave(4))) > 0.5 and float(checkerboard_loss(with_wave(2))) > 0.5
    for period in (3.7, 5, 8, 16):  # strokes of any density
        assert float(checkerboard_loss(with_wave(period))) < 0.01
    for start in range(1, 4):  # wherever the period begins
        shifted = checkerboard_loss(with_wave(4, start))
        torch.testing.assert_close(shifted, checkerboard_loss(with_wave(4)), rtol=0.05, atol=0)


def test_the_checkerboard_loss_is_between_0_and_1_with_a_gradient_for_images_of_every_size():
    for x in (tiny.contents(2, 64), torch.full((2, 3, 17, 22), 0.5), torch.rand(1, 3, 16, 19)):
        assert bool(((checkerboard_loss(x) >= 0) & (checkerboard_loss(x) <= 1)).all())
        assert bool(torch.autograd.grad(checkerboard_loss(x.requires_grad_()).sum(), x)[0].isfinite().all())
    x = torch.rand(2, 3, 10, 9, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(checkerboard_loss, x)
    torch.autograd.gradgradcheck(checkerboard_loss, x)


def test_the_tone_loss_is_between_0_and_1_and_finite_for_flat_images():
    content, other = tiny.contents(2, 64), tiny.contents(2, 64, seed=7)
    for fit in (tone_fit(content), tone_fit(torch.full_like(content, 0.5))):
        for x in (other, torch.full_like(other, 0.3)):
            assert bool(((tone_loss(x, fit) >= 0) & (tone_loss(x, fit) <= 1)).all())


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    loss = perceptual(LossWeights(1, 10, 0.1, 2))
    x = tiny.contents(1, 64, seed=3, dtype=torch.float64).requires_grad_()
    c = tiny.contents(1, 64, dtype=torch.float64)
    targets = loss.targets(c, loss.style_grams(tiny.tensor(tiny.style(16, 16), torch.float64)))
    gradient = torch.autograd.grad(loss(x, targets)[0].sum(), x)[0]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        v = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        with torch.no_grad():
            up, down = (float(loss(x + e * v, targets)[0].sum()) for e in (1e-7, -1e-7))  # longer ones cross kinks
        assert float((gradient * v).sum()) == pytest.approx((up - down) / 2e-7, rel=1e-5)


@pytest.mark.parametrize("dark", ["content", "style", "stylized", "all"])
def test_black_images_give_finite_losses_and_gradients(dark):
    loss = perceptual(dtype=torch.float32)
    with torch.no_grad():
        for p in loss.feature_extractor.parameters():
            if p.ndim == 1:
                p.zero_()  # with the mean at 0 as well, black has no features at all
    loss.feature_extractor.mean.zero_()
    black, other = torch.zeros(1, 3, 32, 32), tiny.contents(1)
    c, s, x = (black if dark in (name, "all") else other for name in ("content", "style", "stylized"))
    x = x.clone().requires_grad_()
    terms = loss(x, loss.targets(c, loss.style_grams(s)))
    assert all(bool(torch.isfinite(t).all()) for t in terms)
    assert bool(torch.isfinite(torch.autograd.grad(terms[0].sum(), x)[0]).all())


def test_targets_have_no_graph():
    loss, x = perceptual(), tiny.contents(1, dtype=torch.float64).requires_grad_()
    targets = loss.targets(x, loss.style_grams(x))
    assert not targets.content.requires_grad and not any(g.requires_grad for g in targets.grams)


@pytest.mark.parametrize(
    "name", ["content_weight", "style_weight", "tv_weight", "tone_weight", "checkerboard_weight", "coarse_weight"]
)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_negative_and_infinite_weights_are_refused(name, value):
    with pytest.raises(SettingError) as error:
        LossWeights(**{name: value})
    assert name in str(error.value) and repr(value) in str(error.value)


def test_fewer_scales_are_the_first_of_them():
    x, s = tiny.contents(1, 64, dtype=torch.float64), tiny.contents(1, 48, seed=9, dtype=torch.float64)
    one, two, three = (perceptual(LossWeights(coarse_weight=1, style_scales=n)) for n in (1, 2, 3))
    terms = [float(loss(x, loss.targets(x, loss.style_grams(s)))[2]) for loss in (one, two, three)]
    assert 0 < terms[0] < terms[1] < terms[2]
    assert [len(loss.style_grams(s)) for loss in (one, two, three)] == [2, 4, 6]


def test_a_loss_without_terms_is_refused():
    with pytest.raises(SettingError) as error:
        LossWeights(0, 0, 0, 0, coarse_weight=1)
    assert "content_weight" in str(error.value)
    LossWeights(0, 0, 1, 0)


@pytest.mark.parametrize("scales", [0, MAX_STYLE_SCALES + 1])
def test_a_number_of_scales_out_of_range_is_refused(scales):
    with pytest.raises(SettingError) as error:
        LossWeights(style_scales=scales)
    assert "style_scales" in str(error.value) and str(MAX_STYLE_SCALES) in str(error.value)


# --- activation outliers


def test_an_outlier_is_where_all_channels_are_far_from_their_means():
    x = torch.randn(2, 8, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    assert float(outlier_penalty([x, 100 * x + 7], limit=2.5)) == 0, "whatever the channel's scale"
    one, all_of_them = x.clone(), x.clone()
    one[0, 1, 5, 7] = 20
    all_of_them[0, :, 5, 7] = 20 * x[0, :, 5, 7].sign()
    z = (all_of_them - all_of_them.mean((2, 3), keepdim=True)) / (
        all_of_them.var((2, 3), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    by_hand = (z.square().mean(1).sqrt() - 2.5).relu().square().sum() / (2 * 16 * 16)
    assert float(by_hand) > 0.1
    torch.testing.assert_close(outlier_penalty([all_of_them], limit=2.5), by_hand)
    torch.testing.assert_close(outlier_penalty([all_of_them, x], limit=2.5), by_hand / 2)
    assert float(outlier_penalty([one], limit=2.5)) < 0.2 * float(by_hand), "a rare feature is no outlier"


def test_the_outlier_penalty_of_a_flat_map_is_0_with_a_finite_gradient():
    x = torch.zeros(1, 4, 8, 8, requires_grad=True)
    penalty = outlier_penalty([x], limit=2.0)
    assert float(penalty.detach()) == 0 and bool(torch.autograd.grad(penalty, x)[0].isfinite().all())
