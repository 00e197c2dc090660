"""Images are written as their users expect: through links, with mode and resolution, in 8 or 16 bits."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import check_writable, load_deep, load_image, save_image
from metastyle_hub.images.output import encode_deep_png

IMAGE = tiny.image(tiny.content(20, 30))
posix = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")


@posix
def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    for name, target in (("file.png", "disk/there.png"), ("new.png", "disk/not_yet.png")):
        (tmp_path / name).symlink_to(tmp_path / target)
    IMAGE.save(tmp_path / "disk" / "there.png")
    for name in ("file.png", "new.png"):
        save_image(Image.new("RGB", (3, 2)), tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert Image.open(tmp_path / "disk" / "there.png").size == Image.open(tmp_path / "disk" / "not_yet.png").size
    assert not list(tmp_path.glob("**/.*"))


@posix
def test_a_write_protected_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "out.png"
    IMAGE.save(path)
    path.chmod(0o444)
    before = path.read_bytes()
    for attempt in (check_writable, lambda p: save_image(Image.new("RGB", (3, 2)), p)):
        with pytest.raises(ImageError) as error:
            attempt(path)
        assert "out.png" in str(error.value)
    assert path.read_bytes() == before and stat.S_IMODE(path.stat().st_mode) == 0o444


@posix
def test_a_replaced_file_keeps_its_mode(tmp_path):
    path = tmp_path / "out.png"
    IMAGE.save(path)
    path.chmod(0o640)
    save_image(IMAGE, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@posix
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError):
        check_writable(tmp_path / "pipe.png")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_image(IMAGE, "~/deep/out.png")
    assert load_image("~/deep/out.png").size == load_image(tmp_path / "deep" / "out.png").size
    monkeypatch.chdir(tmp_path)
    save_image(IMAGE, "~nobody_of_that_name.png")  # a name, not a home
    assert (tmp_path / "~nobody_of_that_name.png").is_file()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_the_resolution_is_kept(tmp_path, suffix):
    IMAGE.save(tmp_path / f"in{suffix}", dpi=(300, 150))
    loaded = load_image(tmp_path / f"in{suffix}")
    save_image(loaded, tmp_path / f"out{suffix}")
    for dpi in (loaded.info["dpi"], Image.open(tmp_path / f"out{suffix}").info["dpi"]):
        assert np.allclose(dpi, (300, 150), atol=0.1)


@pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 300.0), "300", (300,), None])
def test_a_resolution_that_means_nothing_is_dropped(dpi):
    image = IMAGE.copy()
    image.info["dpi"] = dpi
    assert "dpi" not in load_image(image).info


def test_16_bits_come_back_exactly(tmp_path):
    levels = torch.randint(0, 65536, (1, 3, 70, 9), generator=torch.Generator().manual_seed(0))
    (tmp_path / "deep.png").write_bytes(encode_deep_png(levels / 65535, dpi=(300, 300)))
    read = load_deep(tmp_path / "deep.png")
    assert read.dtype == torch.float32 and torch.equal((read * 65535).round().long(), levels)
    with Image.open(tmp_path / "deep.png") as image:
        assert image.size == (9, 70) and np.allclose(image.info["dpi"], 300, atol=0.1)
        assert np.array_equal(np.asarray(image), (levels[0] // 256).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_of_a_tiff_are_all_read(tmp_path, order):
    tifffile = pytest.importorskip("tifffile", reason="writes the TIFF of this test")
    levels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", levels, photometric="rgb", byteorder=order)
    assert np.array_equal((load_deep(tmp_path / "deep.tif")[0].permute(1, 2, 0) * 65535).round().numpy(), levels)


def test_16_bits_keep_transparency(tmp_path):
    alpha = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    (tmp_path / "deep.png").write_bytes(encode_deep_png(torch.rand(3, 3, 4), alpha))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "deep.png").getchannel("A")), np.asarray(alpha))


@pytest.mark.parametrize("pixels", [torch.zeros(2, 3, 4, 5), torch.full((3, 4, 5), float("nan"))])
def test_what_is_no_image_is_not_written_in_16_bits(pixels):
    with pytest.raises(ImageError):
        encode_deep_png(pixels)


def test_other_images_have_their_8_bits(tmp_path):
    IMAGE.save(tmp_path / "plain.png")
    assert torch.equal(load_deep(tmp_path / "plain.png"), tiny.tensor(np.array(IMAGE)))
    assert torch.equal(load_deep(IMAGE), tiny.tensor(np.array(IMAGE)))


def test_a_name_that_is_not_utf8_is_written_and_read(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        save_image(IMAGE, path)
    except ImageError as error:  # macOS has no such names
        assert "\n" not in str(error)
        return
    assert load_image(path).size == IMAGE.size
