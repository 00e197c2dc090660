"""Images are loaded from every source, converted to tensors and back, and saved completely or not at all."""

import contextlib
import hashlib
import http.server
import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from image_files import CORNERS, close, corner_image, corners, needs_avif, refusal
from PIL import Image, ImageOps

from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import (
    ImageLimits,
    check_writable,
    combined_sha256,
    image_sha256,
    list_images,
    load_image,
    load_image_with_sha256,
    save_image,
    to_pil,
    to_tensor,
    with_alpha,
)

# ---- sources


def test_arrays_and_tensors_are_images() -> None:
    array = np.asarray(corner_image())
    assert corners(load_image(array)) == list(CORNERS)
    assert load_image(array[..., 0]).mode == "RGB"
    assert corners(load_image(to_tensor(corner_image()))) == list(CORNERS)
    assert corners(load_image(to_tensor(corner_image())[0])) == list(CORNERS)


def test_float_arrays_are_rounded_to_8_bits() -> None:
    array = np.asarray(corner_image())
    for dtype in (np.float16, np.float32, np.float64):
        values = (array / 255).astype(dtype)
        tolerance = 0 if dtype != np.float16 else 1
        assert np.abs(np.asarray(load_image(values)).astype(int) - array).max() <= tolerance
        gray = np.asarray(load_image(values[..., 0]))
        assert np.abs(gray.astype(int) - array[..., :1]).max() <= tolerance
    assert load_image(np.zeros((4, 5, 4))).mode == "RGBA"
    assert load_image(np.full((4, 5, 3), 1.0005)).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(array[::-1, ::-1] / 255).tobytes() == corner_image().rotate(180).tobytes()


def test_uint8_tensors_are_images() -> None:
    array = np.asarray(corner_image())
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    assert np.array_equal(np.asarray(load_image(tensor)), array)
    assert np.array_equal(np.asarray(load_image(tensor[None])), array)


def test_the_source_is_not_changed() -> None:
    mine = corner_image()
    mine.info["dpi"] = (72, 72)
    load_image(mine).paste((0, 0, 0), (0, 0, 48, 32))
    assert corners(mine) == list(CORNERS) and mine.info == {"dpi": (72, 72)}


def test_files_that_are_no_images_are_refused_in_one_sentence(tmp_path: Path) -> None:
    refusal(tmp_path / "absent.jpg", "absent.jpg")
    refusal(tmp_path / "absent.jpg" / "deeper.jpg", "deeper.jpg")
    refusal(tmp_path, tmp_path.name)
    (tmp_path / "empty.png").touch()
    refusal(tmp_path / "empty.png", "empty.png")
    (tmp_path / "letter.png").write_text("Dear reader,\nthis is no image.\n")
    refusal(tmp_path / "letter.png", "letter.png", "JPEG, PNG")
    (tmp_path / "drawing.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    refusal(tmp_path / "drawing.jpg", "drawing.jpg")
    (tmp_path / "two\nlines.png").write_text("x")
    refusal(tmp_path / "two\nlines.png", "lines.png")
    refusal("zero\0byte.png", "byte.png")
    refusal("n" * 5000 + ".png", "nnn.png")
    refusal("", "''")
    refusal(b"bytes", "bytes")
    refusal(None, "NoneType")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refusal(tmp_path / "pipe.png", "pipe.png")
    refusal("/dev/zero", "/dev/zero")


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (torch.zeros(32, 48, 3), "permute"),
        (torch.zeros(1, 32, 48), "(1, 32, 48)"),
        (torch.zeros(48), "(48,)"),
        (torch.zeros(3, 0, 5), "5x0"),
        (torch.zeros(2, 3, 8, 8), "2"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((3, 8, 8), float("nan")), "NaN"),
        (torch.full((3, 8, 8), float("inf")), "infinite"),
        (torch.full((3, 8, 8), 200.0), "200"),
        (torch.full((3, 8, 8), -1.0), "-1"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((3, 8, 8), np.uint8), "(3, 8, 8)"),
        (np.zeros((3, 8, 8), np.float32), "(3, 8, 8)"),
        (np.full((8, 8, 3), 200.0), "200"),
        (np.full((8, 8), -1.0), "-1"),
        (np.full((8, 8, 3), np.nan), "NaN"),
        (np.full((8, 8, 3), np.inf), "infinite"),
        (np.zeros((0, 8, 3), np.uint8), "8x0"),
        (np.zeros((8, 0, 3), np.float32), "0x8"),
    ],
)
def test_wrong_tensors_and_arrays_are_refused(source: object, value: str) -> None:
    refusal(source, value)


# ---- URLs


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one image at every path; the path says how."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        data = self.files["image"]
        if self.path == "/absent.png":
            self.send_error(404)
            return
        if self.path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/image.png")
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/empty.png":
            data = b""
        if self.path not in ("/silent.png", "/unknown-length.png"):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.path == "/silent.png":
            self.wfile.flush()
            self.server.stop.wait(30)  # type: ignore[attr-defined]
        elif self.path == "/slow.png":
            for byte in data:
                if self.server.stop.wait(0.2):  # type: ignore[attr-defined]
                    return
                with contextlib.suppress(OSError):
                    self.wfile.write(bytes([byte]))
        elif self.path == "/broken.png":
            self.wfile.write(data[: len(data) // 2])
        else:
            with contextlib.suppress(OSError):
                self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of one image."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    buffer = io.BytesIO()
    corner_image().save(buffer, "PNG")
    Handler.files["image"] = buffer.getvalue()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.stop = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("path", ["image.png", "moved.png", "unknown-length.png", "zwei wörter%20.png?a=b c"])
def test_an_image_is_downloaded_from_a_url(server: str, path: str) -> None:
    image, sha256 = load_image_with_sha256(f"{server}/{path}")
    assert corners(image) == list(CORNERS) and sha256 == hashlib.sha256(Handler.files["image"]).hexdigest()
    assert load_image(f"{server.upper()}/{path}").tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("path", "value"), [("absent.png", "404"), ("empty.png", "empty.png"), ("broken.png", "broken.png")]
)
def test_a_failed_download_is_one_sentence(server: str, path: str, value: str) -> None:
    refusal(f"{server}/{path}", f"{server}/{path}", value)


@pytest.mark.parametrize("path", ["image.png", "unknown-length.png"])
def test_a_download_beyond_the_limit_is_refused(server: str, path: str) -> None:
    refusal(f"{server}/{path}", path, "max_bytes", limits=ImageLimits(max_bytes=50))


@pytest.mark.parametrize("path", ["silent.png", "slow.png"])
def test_a_server_that_stops_sending_is_refused_after_the_timeout(server: str, path: str) -> None:
    refusal(f"{server}/{path}", path, limits=ImageLimits(timeout=1.0))


def test_addresses_that_cannot_be_reached_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusal(f"http://127.0.0.1:{unused.getsockname()[1]}/a.png", "a.png")
    refusal("http://", "http://")
    refusal("http://[broken/a.png", "a.png")
    refusal("https://127.0.0.1:1/zwei\nwörter.png", "wörter.png")
    refusal("ftp://127.0.0.1/a.png", "ftp://127.0.0.1/a.png")


# ---- hashes


def test_the_sha256_is_of_the_file_or_of_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "style.png"
    corner_image().save(path)
    assert image_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image_sha256(corner_image()) == image_sha256(np.asarray(corner_image()))
    assert image_sha256(corner_image()) != image_sha256(corner_image().rotate(180))
    assert image_sha256(Image.new("RGB", (4, 2))) != image_sha256(Image.new("RGB", (2, 4)))
    with pytest.raises(ImageError) as error:
        image_sha256(tmp_path / "absent.png")
    assert "absent.png" in str(error.value)


def test_an_image_and_its_sha256_come_from_one_read(tmp_path: Path) -> None:
    path = tmp_path / "style.png"
    corner_image().save(path)
    image, sha256 = load_image_with_sha256(path)
    assert sha256 == image_sha256(path) and image.tobytes() == load_image(path).tobytes()
    for source in (corner_image(), np.asarray(corner_image()), to_tensor(corner_image())):
        image, sha256 = load_image_with_sha256(source)
        assert sha256 == image_sha256(source) == image_sha256(corner_image())
        assert image.tobytes() == corner_image().tobytes()
    refused = ImageLimits(max_bytes=50)
    with pytest.raises(ImageError) as error:
        load_image_with_sha256(path, refused)
    assert "style.png" in str(error.value)


def test_a_file_that_is_replaced_while_it_is_loaded_keeps_its_own_sha256(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "style.png"
    corner_image().save(path)
    before = image_sha256(path)
    opens, decode = [], Image.open

    def replaced(*args: object, **options: object) -> Image.Image:
        opens.append(args)
        Image.new("RGB", (8, 8)).save(path)
        return decode(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", replaced)
    image, sha256 = load_image_with_sha256(path)
    assert sha256 == before and corners(image) == list(CORNERS)
    assert len(opens) == 1, "decoded once"


def test_the_sha256_of_several_images() -> None:
    assert combined_sha256(["ab"]) == "ab"
    assert combined_sha256(["ab", "cd"]) == hashlib.sha256(b"abcd").hexdigest()
    assert combined_sha256(["ab", "cd"]) != combined_sha256(["cd", "ab"])


# ---- tensors


def test_pil_images_and_tensors_convert_exactly() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8))
    tensor = to_tensor(noise)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 33, 47), torch.float32)
    assert tensor.min() >= 0 and tensor.max() <= 1
    assert np.array_equal(np.asarray(to_pil(tensor)), np.asarray(noise))
    assert np.array_equal(np.asarray(to_pil(tensor[0].double())), np.asarray(noise))
    assert to_tensor(noise.convert("L")).shape == (1, 3, 33, 47)
    assert to_tensor(noise.convert("RGBA")).shape == (1, 3, 33, 47)


def test_uint8_tensors_become_float() -> None:
    tensor = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    assert torch.equal(to_tensor(tensor), tensor / 255) and to_tensor(tensor).dtype == torch.float32
    assert torch.equal(to_tensor(tensor[0]), tensor[:1] / 255)
    image = corner_image()
    assert torch.equal(to_tensor(torch.from_numpy(np.array(image)).permute(2, 0, 1)), to_tensor(image))


def test_values_out_of_range_are_named() -> None:
    for tensor, value in ((torch.full((3, 2, 2), 200.0), "200"), (torch.full((3, 2, 2), -0.5), "-0.5")):
        with pytest.raises(ImageError) as error:
            to_tensor(tensor)
        assert value in str(error.value) and "255" in str(error.value)
    with pytest.raises(ImageError) as error:
        to_tensor(torch.zeros(3, 2, 2, dtype=torch.int32))
    assert "int32" in str(error.value)


def test_a_loaded_image_becomes_a_tensor_without_a_second_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    transparent = corner_image()
    transparent.putalpha(Image.linear_gradient("L").resize((48, 32)))
    loaded = [load_image(corner_image()), load_image(transparent)]
    expected = to_tensor(corner_image())
    monkeypatch.setattr(Image.Image, "convert", lambda *_, **__: pytest.fail("converted"))
    for image in loaded:
        assert torch.equal(to_tensor(image), expected)


def test_an_opened_image_becomes_an_upright_tensor(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "tif"):
        corner_image().save(tmp_path / f"rotated.{suffix}", exif=exif)
        with Image.open(tmp_path / f"rotated.{suffix}") as image:
            assert to_tensor(image).shape == (1, 3, 48, 32)
    with pytest.raises(ImageError) as error:
        to_tensor(Image.new("RGB", (0, 5)))
    assert "0x5" in str(error.value)


def test_to_pil_clamps_and_rounds_to_nearest() -> None:
    tensor = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 2.0]).expand(3, 1, 4)
    assert np.asarray(to_pil(tensor))[0, :, 0].tolist() == [0, 0, 1, 255]
    with pytest.raises(ImageError) as error:
        to_pil(torch.full((3, 2, 2), float("nan")))
    assert "NaN" in str(error.value)


def test_a_valid_tensor_is_returned_unchanged() -> None:
    tensor = torch.rand(2, 3, 5, 7)
    assert to_tensor(tensor) is tensor
    assert to_tensor(tensor[0]).shape == (1, 3, 5, 7)
    assert to_tensor(tensor.half()).dtype == torch.float32
    assert to_tensor(torch.full((3, 2, 2), 1.0005)).max() == 1


def test_with_alpha_restores_transparency() -> None:
    content = corner_image()
    content.putalpha(Image.linear_gradient("L").resize(content.size))
    stylized = to_pil(1 - to_tensor(content))
    again = with_alpha(stylized, content)
    assert again.mode == "RGBA" and stylized.mode == "RGB"
    assert np.array_equal(np.asarray(again)[..., 3], np.asarray(content)[..., 3])
    assert np.array_equal(np.asarray(again)[..., :3], np.asarray(stylized))
    assert with_alpha(stylized.resize((96, 64)), content).size == (96, 64)
    assert with_alpha(stylized, corner_image()) is stylized


# ---- folders


def test_listing_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "old/c.webp", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == [tmp_path / "a.png", tmp_path / "b.JPG", tmp_path / "old" / "c.webp"]
    assert list_images(str(tmp_path), recursive=False) == [tmp_path / "a.png", tmp_path / "b.JPG"]
    for name in ("folder.png", "absent"):
        with pytest.raises(ImageError) as error:
            list_images(tmp_path / name)
        assert name in str(error.value)


def test_every_suffix_of_a_readable_format_is_listed(tmp_path: Path) -> None:
    names = ("a.jfif", "b.jpe", "c.apng", "d.pnm", "e.tiff", "f.JPEG", "g.bmp", "h.gif")
    for name in (*names, "i.svg", "j.pdf", "k.eps", "l.ico", "m.tga", "n"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == list(names)


# ---- saving


@pytest.mark.parametrize(
    "suffix", [".jpg", ".JPEG", ".png", ".webp", ".tif", ".bmp", pytest.param(".avif", marks=needs_avif)]
)
def test_saving_writes_the_image_and_no_other_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / "folder" / f"out{suffix}"
    save_image(corner_image(), path)
    assert close(corners(load_image(path)), CORNERS, 12)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode, "readable by the same users as other files"


def test_a_saved_jpeg_keeps_fine_color(tmp_path: Path) -> None:
    save_image(corner_image(), tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert {(h, v) for _, h, v, _ in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


def test_transparency_becomes_white_where_the_format_has_none(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    for suffix in ("jpg", "bmp"):
        save_image(clear, tmp_path / f"out.{suffix}")
        assert load_image(tmp_path / f"out.{suffix}").getpixel((8, 8)) == (255, 255, 255)
    save_image(clear, tmp_path / "out.png")
    assert load_image(tmp_path / "out.png").getpixel((8, 8))[3] == 0


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    save_image(corner_image(), path)
    old = path.read_bytes()

    def half_written(self: Image.Image, file: io.BufferedWriter, **options: object) -> None:
        file.write(b"\x89PNG half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half_written)
    with pytest.raises(ImageError) as error:
        save_image(ImageOps.invert(corner_image()), path)
    assert "out.png" in str(error.value) and "No space left" in str(error.value) and "\n" not in str(error.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_is_checked_before_the_image_exists(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken.png").mkdir()
    for place in ("out.xyz", "out", "file/out.png", "file/deep/out.png", "taken.png", "x" * 300 + ".png"):
        with pytest.raises(ImageError) as error:
            check_writable(tmp_path / place)
        assert Path(place).name in str(error.value)
    for place in ("out.png", "new/deep/out.JPG", "file.png"):
        check_writable(tmp_path / place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.png"]


def test_paths_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        save_image(corner_image(), tmp_path / "out.xyz")
    assert "out.xyz" in str(error.value) and ".png" in str(error.value)
    with pytest.raises(ImageError) as error:
        save_image(corner_image(), "out")
    assert "'out'" in str(error.value)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError) as error:
        save_image(corner_image(), tmp_path / "file" / "out.png")
    assert "out.png" in str(error.value)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(ImageError) as error:
        save_image(corner_image(), tmp_path / "taken.png")
    assert "taken.png" in str(error.value)
    with pytest.raises(ImageError) as error:
        save_image(Image.new("RGB", (70_000, 1)), tmp_path / "wide.jpg")
    assert "wide.jpg" in str(error.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.png"]
