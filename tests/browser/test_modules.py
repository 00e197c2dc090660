"""The JavaScript modules of the page, under Node, against what Python, PyTorch and NumPy compute."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from metastyle_hub import MetaStyle, interpolate
from metastyle_hub.adaptation import style_tensor
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.images.io import to_tensor
from metastyle_hub.images.transforms import pad_to_multiple, preserve_color
from metastyle_hub.networks.layers import noise_field
from metastyle_hub.networks.param_groups import trainable_parameters

TESTS = Path(__file__).with_name("modules.test.js")
NODE = shutil.which("node")


def flat(style: MetaStyle) -> Tensor:
    own = trainable_parameters(style.state_dict(), "decoder")
    return torch.cat([own[name].flatten() for name in sorted(own)])


def manifest(base: MetaStyle) -> dict[str, object]:
    """The part of browser.json that these modules read."""
    own, layout, offset = trainable_parameters(base.state_dict(), "decoder"), [], 0
    for name in sorted(own):
        layout.append({"name": name, "offset": offset, "shape": list(own[name].shape)})
        offset += own[name].numel()
    noise = {}
    for name, channels in (("noise_quarter", 3), ("noise_half", 2)):
        state = np.random.PCG64(channels).state["state"]
        pcg64 = {"state": f"{state['state']:x}", "increment": f"{state['inc']:x}"}
        noise[name] = {"channels": channels, "period": 256, "pcg64": pcg64}
    reference = BaseReference(base.fingerprint)
    template = ArtifactConfig(kind="style", architecture=base.config.architecture, base_model=reference)
    return {
        "base": {"fingerprint": base.fingerprint},
        "parameter_count": offset,
        "parameters": layout,
        "noise": noise,
        "style_config": json.loads(template.to_json()),
    }


def write_references(folder: Path) -> None:
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    base.save_pretrained(folder / "base")
    styles = {"style": "decoder", "norms": "norm", "whole": "all"}
    made = {name: tiny.random_style(base, folder / name, kind, i) for i, (name, kind) in enumerate(styles.items())}
    (folder / "browser.json").write_text(json.dumps(manifest(base)))
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", method) as file:
            for member in ("config.json", "model.safetensors"):
                file.write(folder / "style" / member, f"my style/{member}")

    halves = torch.tensor([0.0, -0.0, 1.0, -2.5, 0.15625, 2.0**-14, 3 * 2.0**-24])
    kinds = (torch.float16, torch.bfloat16, torch.float64)
    save_file({str(kind).removeprefix("torch."): halves.to(kind) for kind in kinds}, folder / "halves.safetensors")

    photo = Image.fromarray(tiny.content(45, 70))
    for suffix in ("png", "jpg", "gif", "bmp"):
        photo.save(folder / f"sized.{suffix}")
    long, dot = Image.fromarray(tiny.style(9, 60)), Image.fromarray(tiny.content(1, 1))
    tensor = to_tensor(photo)
    crop = F.interpolate(tensor[..., 3:43, 10:50], (16, 16), mode="bilinear", antialias=True)
    stylized, content = torch.rand(1, 3, 4, 5), torch.rand(1, 3, 4, 5)
    values = {
        "halves": halves,
        "vector": flat(made["style"]),
        "vector_norms": flat(made["norms"]),
        "mix": flat(interpolate([made["style"], made["norms"]], [0.3, 0.7])),
        "strength": flat(interpolate([made["style"], base], [0.6, 0.4])),
        **{name: torch.from_numpy(np.array(im.convert("RGBA"))).float() for name, im in
           (("photo", photo), ("long", long), ("dot", dot))},
        "smaller": resized(tensor, 20, 31),
        "larger": resized(tensor, 111, 130),
        "crop": crop,
        "long_style": style_tensor(long, 32),
        "photo_padded": pad_to_multiple(tensor)[0],
        "dot_padded": pad_to_multiple(to_tensor(dot))[0],
        "stylized": stylized,
        "content": content,
        "preserved": preserve_color(stylized, content),
    }  # fmt: skip
    for name, channels in (("noise_quarter", 3), ("noise_half", 2)):
        values[name] = noise_field(channels, 256, 256)
        values[f"{name}_window"] = noise_field(channels, 5, 7, (250, 254))
    contiguous = {name: value.contiguous().float() for name, value in values.items()}
    save_file(contiguous, folder / "reference.safetensors", metadata={"format": "pt"})


def resized(tensor: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(tensor, (height, width), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


@pytest.mark.skipif(NODE is None, reason="node is not installed: apt-get install nodejs")
def test_modules_agree_with_python(tmp_path: Path) -> None:
    write_references(tmp_path)
    command = [str(NODE), "--test", "--test-reporter=tap", str(TESTS)]
    done = subprocess.run(command, env={"REFERENCE": str(tmp_path), "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    with zipfile.ZipFile(tmp_path / "written.zip") as file:
        assert file.testzip() is None
        file.extractall(tmp_path / "written")
    base = MetaStyle.from_pretrained(tmp_path / "base")
    written = MetaStyle.from_pretrained(tmp_path / "written")
    first = base.load_style(tmp_path / "style")
    assert written.name == "<b>ünïcode</b>"
    assert written.config.mix == [{"name": "a", "weight": 1}]
    assert written.fingerprint == interpolate([first, base], [0.3, 0.7]).fingerprint
