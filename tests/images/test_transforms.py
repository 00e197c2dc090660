"""Resizing, cropping and padding of image tensors, and preserved colors."""

import pytest
import torch
import torch.nn.functional as F

from metastyle_hub.errors import ImageError
from metastyle_hub.images.transforms import (
    center_crop,
    crop_back,
    pad_to_multiple,
    preserve_color,
    resize_long_side,
    resize_short_side,
)


def test_resizing_keeps_the_aspect() -> None:
    image = torch.rand(1, 3, 300, 400)
    assert resize_short_side(image, 150).shape == (1, 3, 150, 200)
    assert resize_short_side(image[0], 600).shape == (3, 600, 800)
    assert resize_long_side(image, 100).shape == (1, 3, 75, 100)
    assert resize_long_side(torch.rand(1, 3, 1, 6000), 256).shape == (1, 3, 1, 256)
    assert resize_short_side(image, 300) is image
    checks = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float().expand(1, 3, 64, 64)
    small = resize_short_side(checks, 16)
    assert small.min() >= 0 and small.max() <= 1
    assert (small[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.05, "a fine pattern turns gray when it is antialiased"
    assert resize_short_side(image.half(), 10).dtype == torch.float16


def test_a_resize_without_bound_is_refused() -> None:
    with pytest.raises(ImageError) as error:
        resize_short_side(torch.rand(1, 3, 1, 6000), 256)
    assert "393.2" in str(error.value)
    with pytest.raises(ImageError) as error:
        resize_short_side(torch.rand(1, 3, 8, 8), 0)
    assert " 0 " in str(error.value)


def test_center_crop_takes_the_middle() -> None:
    image = torch.arange(5.0 * 7).view(1, 1, 5, 7).expand(1, 3, 5, 7)
    assert center_crop(image, 1)[0, 0].tolist() == [[17.0]]
    assert center_crop(image, (5, 3))[0, 0, 0].tolist() == [2.0, 3.0, 4.0]
    with pytest.raises(ImageError) as error:
        center_crop(image, 6)
    assert "6x6" in str(error.value)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 1000), (1023, 777), (6000, 1), (32, 64)])
@pytest.mark.parametrize(("multiple", "minimum"), [(4, 32), (8, 1), (16, 100)])
def test_crop_back_undoes_padding_exactly(size: tuple[int, int], multiple: int, minimum: int) -> None:
    image = torch.rand(1, 3, *size)
    padded, padding = pad_to_multiple(image, multiple, minimum)
    for side, before in zip(padded.shape[-2:], size, strict=True):
        assert side % multiple == 0 and side >= max(minimum, before) and side - max(before, minimum) < multiple
    assert torch.equal(crop_back(padded, padding), image)
    assert padded.min() == image.min() and padded.max() == image.max(), "made of its own pixels"


@pytest.mark.parametrize("size", [(30, 45), (33, 61), (1023, 777), (20, 17)])
def test_padding_equals_torch_s_reflection(size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    padded, (top, left, height, width) = pad_to_multiple(image)
    bottom, right = padded.shape[-2] - height - top, padded.shape[-1] - width - left
    assert torch.equal(padded, F.pad(image, (left, right, top, bottom), mode="reflect"))


def test_small_images_are_reflected_repeatedly() -> None:
    row = torch.tensor([0.1, 0.2, 0.3]).expand(1, 3, 1, 3)
    padded, padding = pad_to_multiple(row, 4, 12)
    assert padding.left == 4
    want = [0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3, 0.2]
    assert torch.equal(padded[0, 0, 0], torch.tensor(want))


def test_without_padding_nothing_is_copied() -> None:
    image = torch.rand(1, 3, 64, 32)
    padded, padding = pad_to_multiple(image)
    assert padded is image and crop_back(padded, padding).data_ptr() == image.data_ptr()


def test_preserve_color_combines_luminance_and_chroma() -> None:
    rng = torch.Generator().manual_seed(0)
    content = 0.4 + 0.2 * torch.rand(1, 3, 16, 16, generator=rng)
    stylized = 0.4 + 0.2 * torch.rand(1, 3, 16, 16, generator=rng)
    mixed = preserve_color(stylized, content)
    y = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)

    def luminance(tensor: torch.Tensor) -> torch.Tensor:
        return (tensor * y).sum(1)

    assert torch.allclose(luminance(mixed), luminance(stylized), atol=1e-6)
    for channel in (0, 2):  # Cr and Cb are scaled differences to the luminance
        chroma, want = (image[:, channel] - luminance(image) for image in (mixed, content))
        assert torch.allclose(chroma, want, atol=1e-6)
    assert torch.allclose(preserve_color(content, content), content)
    assert preserve_color(torch.ones(1, 3, 2, 2), content[..., :2, :2]).max() <= 1
    with pytest.raises(ImageError) as error:
        preserve_color(stylized, content[..., 1:])
    assert "(1, 3, 16, 15)" in str(error.value)
