"""Crops depend on the generator alone, lie in the image, and are enlarged by no more than two."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from metastyle_hub.data.datasets import (
    CropConfig,
    FolderDataset,
    ImageDataset,
    InMemoryDataset,
    center_crops,
    check_crop_scales,
    next_readable,
    open_dataset,
    random_crop,
    random_crops,
)
from metastyle_hub.errors import ImageError, SettingError
from metastyle_hub.images.io import to_tensor


def ramp(height: int, width: int) -> torch.Tensor:
    """An image whose red is the column and whose green is the row, both as shares of 1."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, 0.5)])


def dataset(count: int = 5) -> InMemoryDataset:
    return InMemoryDataset([tiny.tensor(tiny.content(40 + i, 60, seed=i))[0] for i in range(count)])


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (1, 1), (7, 200), (512, 300)])
def test_a_crop_is_a_square_of_the_requested_size(size):
    crop = random_crop(torch.rand(3, *size), CropConfig(24, jitter=0.3), np.random.default_rng(0))
    assert crop.shape == (3, 24, 24)
    assert float(crop.min()) >= 0 and float(crop.max()) <= 1 and bool(torch.isfinite(crop).all())


def test_the_same_generator_draws_the_same_crops():
    config = CropConfig(16, jitter=0.2)
    first, second = (random_crops(dataset(), 4, config, np.random.default_rng((7, 3))) for _ in range(2))
    torch.manual_seed(5)
    assert torch.equal(first, second)
    assert not torch.equal(first, random_crops(dataset(), 4, config, np.random.default_rng((7, 4))))


def test_crops_span_the_configured_share_and_lie_anywhere():
    image, config = ramp(200, 400), CropConfig(32, min_scale=0.4, flip=False)
    spans, lefts, tops = [], [], []
    for seed in range(300):
        crop = random_crop(image, config, np.random.default_rng(seed))
        # red runs over width / 400 of its range, green over height / 200
        spans.append(float(crop[1].max() - crop[1].min()) / (31 / 32))
        lefts.append(float(crop[0].min()))
        tops.append(float(crop[1].min()))
        across = float(crop[0].max() - crop[0].min()) / (31 / 32)
        assert across == pytest.approx(spans[-1] / 2, abs=0.02), "the aspect is kept"
    assert 0.38 < min(spans) < 0.45 and 0.95 < max(spans) < 1.04
    assert min(lefts) < 0.05 and max(lefts) > 0.6
    assert min(tops) < 0.05 and max(tops) > 0.45


def test_crops_span_no_more_than_the_largest_share():
    image, config = ramp(200, 200), CropConfig(32, min_scale=0.3, max_scale=0.5, flip=False)
    crops = [random_crop(image, config, np.random.default_rng(seed)) for seed in range(200)]
    spans = [float(c[1].max() - c[1].min()) / (31 / 32) for c in crops]
    assert 0.28 < min(spans) < 0.33 and 0.47 < max(spans) < 0.53


def test_dither_keeps_crops_from_one_color_even_in_bfloat16():
    for level in (0.0, 0.3, 0.5, 1.0):
        crop = random_crop(torch.full((3, 40, 40), level), CropConfig(32), np.random.default_rng(0))
        assert (crop - level).abs().max() <= 1 / 255 + 1e-6
        assert bool((crop.to(torch.bfloat16).flatten(1).std(1) > 0).all())


def test_a_crop_is_not_enlarged_by_more_than_two_if_the_image_is_large_enough():
    image, config = ramp(100, 100), CropConfig(64, min_scale=0.01, flip=False)
    spans = [
        float(c[1].max() - c[1].min())
        for c in (random_crop(image, config, np.random.default_rng(i)) for i in range(200))
    ]
    assert min(spans) > 0.29  # 32 pixels of 100


def test_half_of_the_crops_are_mirrored():
    image = ramp(64, 64)
    mirrored = [
        bool((lambda c: c[0, 0, 0] > c[0, 0, -1])(random_crop(image, CropConfig(16), np.random.default_rng(seed))))
        for seed in range(200)
    ]
    assert 70 < sum(mirrored) < 130
    never = CropConfig(16, flip=False)
    assert not any(
        bool((lambda c: c[0, 0, 0] > c[0, 0, -1])(random_crop(image, never, np.random.default_rng(seed))))
        for seed in range(50)
    )


def test_jitter_changes_brightness_within_its_bounds():
    gray = torch.full((3, 32, 32), 0.5)
    values = [
        float(random_crop(gray, CropConfig(16, jitter=0.1), np.random.default_rng(seed)).mean()) for seed in range(100)
    ]
    assert 0.449 < min(values) < 0.47 and 0.53 < max(values) < 0.551
    plain = random_crop(gray, CropConfig(16), np.random.default_rng(0))
    torch.testing.assert_close(plain, torch.full((3, 16, 16), 0.5), rtol=0, atol=1.01 / 255)


def test_a_batch_has_different_images_as_long_as_there_are_enough():
    flat = InMemoryDataset([torch.full((3, 20, 20), i / 10) for i in range(5)])
    config = CropConfig(16)
    for seed in range(20):
        crops = random_crops(flat, 5, config, np.random.default_rng(seed))
        assert sorted(round(float(v) * 10) for v in crops.mean((1, 2, 3))) == [0, 1, 2, 3, 4]
    assert random_crops(flat, 12, config, np.random.default_rng(0)).shape == (12, 3, 16, 16)


def test_center_crops_take_the_middle():
    crops = center_crops(InMemoryDataset([ramp(64, 128), ramp(128, 64)]), 32)
    assert crops.shape == (2, 3, 32, 32)
    assert float(crops[0, 0].mean()) == pytest.approx(0.5, abs=0.02)
    assert 0.24 < float(crops[0, 0].min()) < 0.3


def test_a_folder_is_a_dataset_in_the_order_of_names(tmp_path):
    images = {name: tiny.content(20, 30, seed=i) for i, name in enumerate(["b.png", "a.png", "sub/c.png"])}
    for name, pixels in images.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tiny.image(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    folder = open_dataset(tmp_path)
    assert isinstance(folder, FolderDataset) and len(folder) == 3
    for i, name in enumerate(["a.png", "b.png", "sub/c.png"]):
        assert torch.equal(folder[i], tiny.tensor(images[name])[0])


def test_a_broken_image_is_replaced_by_the_next(tmp_path, caplog):
    for i in range(3):
        tiny.image(tiny.content(20, 30, seed=i)).save(tmp_path / f"{i}.png")
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no image at all")
    folder = FolderDataset(tmp_path)
    for index in range(3):
        assert torch.equal(next_readable(folder, index), folder[0])
    assert "1.png" in caplog.text and "2.png" in caplog.text
    assert random_crops(folder, 3, CropConfig(16), np.random.default_rng(0)).shape == (3, 3, 16, 16)
    with pytest.raises(ImageError):  # an evaluation must not leave out images
        center_crops(folder, 16)
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(ImageError) as error:
        next_readable(folder, 1)
    assert "3" in str(error.value) and "\n" not in str(error.value)


def test_images_in_memory_may_be_tensors_or_pil_images():
    image = tiny.image(tiny.content(20, 30))
    assert torch.equal(InMemoryDataset([image])[0], to_tensor(image)[0])
    tensor = to_tensor(image)[0]
    assert InMemoryDataset([tensor])[0] is tensor


def test_a_folder_without_images_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ImageError) as error:
            open_dataset(folder)
        assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_jitter_changes_contrast_and_saturation_too():
    flat = torch.full((32, 32), 0.5)
    image = torch.stack([torch.linspace(0.3, 0.7, 32).expand(32, 32), flat, flat])
    plain = random_crop(image, CropConfig(32, min_scale=1, flip=False), np.random.default_rng(0))
    contrasts, saturations = [], []
    for seed in range(40):
        crop = random_crop(image, CropConfig(32, min_scale=1, flip=False, jitter=0.2), np.random.default_rng(seed))
        gray, plain_gray = crop.mean(0), plain.mean(0)
        contrasts.append(float((gray - gray.mean()).norm() / (plain_gray - plain_gray.mean()).norm()))
        saturations.append(float((crop - gray).norm() / (plain - plain_gray).norm()))
    # contrast times brightness, and those times saturation
    assert 0.6 < min(contrasts) < 0.95 and 1.05 < max(contrasts) < 1.5
    assert 0.5 < min(saturations) < 0.9 and 1.1 < max(saturations) < 1.8
    ratios = np.array(saturations) / np.array(contrasts)
    assert 0.75 < ratios.min() < 0.9 and 1.1 < ratios.max() < 1.25


def test_datasets_follow_the_protocol(tmp_path):
    tiny.image(tiny.content()).save(tmp_path / "a.png")
    assert isinstance(FolderDataset(tmp_path), ImageDataset) and isinstance(dataset(), ImageDataset)
    assert not isinstance(tmp_path, ImageDataset)


def test_crop_scales_in_the_wrong_order_are_refused():
    check_crop_scales(0.5, 0.5)
    for make in (lambda: check_crop_scales(0.5, 0.3), lambda: CropConfig(min_scale=0.5, max_scale=0.3)):
        with pytest.raises(SettingError) as error:
            make()
        assert all(part in str(error.value) for part in ("max_scale", "0.5", "0.3"))
