"""A network of the PyTorch examples gives the same output here. The original is part of this file."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.convert import convert_johnson
from metastyle_hub.cli import main
from metastyle_hub.errors import ArtifactError


class Layer(nn.Module):
    """Reflection padding and a convolution, perhaps after enlarging."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, upsample: int | None = None) -> None:
        super().__init__()
        self.upsample, self.padding = upsample, kernel // 2
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=self.upsample, mode="nearest") if self.upsample else x
        return self.conv2d(F.pad(x, [self.padding] * 4, mode="reflect"))


class Block(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1, self.in1 = Layer(n, n, 3), nn.InstanceNorm2d(n, affine=True)
        self.conv2, self.in2 = Layer(n, n, 3), nn.InstanceNorm2d(n, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.in2(self.conv2(F.relu(self.in1(self.conv1(x)))))


class Johnson(nn.Module):
    """0..255 in, about 0..255 out."""

    def __init__(self, n: int, blocks: int) -> None:
        super().__init__()
        sizes = [(3, n, 9, 1), (n, 2 * n, 3, 2), (2 * n, 4 * n, 3, 2)]
        for i, (inputs, outputs, kernel, stride) in enumerate(sizes, 1):
            self.add_module(f"conv{i}", Layer(inputs, outputs, kernel, stride))
            self.add_module(f"in{i}", nn.InstanceNorm2d(outputs, affine=True))
        self.blocks = blocks
        for i in range(1, blocks + 1):
            self.add_module(f"res{i}", Block(4 * n))
        self.deconv1, self.in4 = Layer(4 * n, 2 * n, 3, upsample=2), nn.InstanceNorm2d(2 * n, affine=True)
        self.deconv2, self.in5 = Layer(2 * n, n, 3, upsample=2), nn.InstanceNorm2d(n, affine=True)
        self.deconv3 = Layer(n, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        for i in (1, 2, 3):
            x = F.relu(getattr(self, f"in{i}")(getattr(self, f"conv{i}")(x)))
        for i in range(1, self.blocks + 1):
            x = getattr(self, f"res{i}")(x)
        x = F.relu(self.in4(self.deconv1(x)))
        return self.deconv3(F.relu(self.in5(self.deconv2(x))))


def network(n: int = 4, blocks: int = 2, seed: int = 0) -> Johnson:
    torch.manual_seed(seed)
    made = Johnson(n, blocks)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if ".in" in f".{name}":
                p.add_(0.3 * torch.randn_like(p))
        made.deconv3.conv2d.weight.mul_(200)
        made.deconv3.conv2d.bias.fill_(127)
    return made


@pytest.mark.parametrize(("n", "blocks"), [(4, 2), (6, 1), (8, 5)])
@pytest.mark.parametrize("kind", ["plain", "old", "parallel"])
def test_the_output_is_that_of_the_original(tmp_path, n, blocks, kind):
    original = network(n, blocks)
    state = dict(original.state_dict())
    if kind == "old":  # PyTorch before 0.4 saved statistics that nothing reads
        state |= {"in1.running_mean": torch.zeros(n), "res1.in2.running_var": torch.ones(4 * n)}
    if kind == "parallel":
        state = {f"module.{k}": v for k, v in state.items()}
    torch.save(state, tmp_path / "candy.pth")
    artifact = convert_johnson(tmp_path / "candy.pth")
    converted = MetaStyle(artifact.config, artifact.parameters)
    images = tiny.tensor(tiny.content(48, 64))
    with torch.no_grad():
        expected = original(images * 255).clamp(0, 255) / 255
    assert 0.05 < float(((expected > 0) & (expected < 1)).float().mean()) < 1  # both the middle and the ends are tried
    torch.testing.assert_close(converted.stylize(images), expected, rtol=0, atol=1e-4)
    converted.save_pretrained(tmp_path / "candy")
    again = MetaStyle.from_pretrained(tmp_path / "candy")
    assert again.is_base and again.name == "candy" and again.config.output_activation == "clamp"
    assert torch.equal(again.stylize(images), converted.stylize(images))
    assert "fast_neural_style" in (tmp_path / "candy" / "README.md").read_text()


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def broken(name: str, tmp_path: Path) -> object:
    state = dict(network().state_dict())
    match name:
        case "module":
            return network()
        case "list":
            return [1, 2]
        case "mixed":
            return {**state, "epoch": 3}
        case "other":
            return {"layer.weight": torch.zeros(3)}
        case "surplus":
            return {**state, "conv9.conv2d.weight": torch.zeros(3)}
        case "integers":
            return {**state, "in1.weight": torch.ones(4, dtype=torch.int64)}
        case "missing":
            del state["deconv3.conv2d.bias"]
        case "first":
            del state["conv1.conv2d.weight"]
        case "shape":
            state["conv2.conv2d.weight"] = torch.zeros(8, 4, 5, 5)
        case "nan":
            state["in1.bias"][0] = float("nan")
        case "empty":
            return {}
    return state


@pytest.mark.parametrize(
    "name", ["module", "list", "mixed", "other", "surplus", "integers", "missing", "first", "shape", "nan", "empty"]
)
def test_other_files_are_refused_in_one_sentence(tmp_path, name, capsys):
    torch.save(broken(name, tmp_path), tmp_path / "candy.pth")
    with pytest.raises(ArtifactError) as error:
        convert_johnson(tmp_path / "candy.pth")
    assert "candy.pth" in str(error.value) and "\n" not in str(error.value) and str(error.value).endswith(".")
    assert main(["convert", str(tmp_path / "candy.pth"), "-o", str(tmp_path / "out")]) == 2
    assert str(error.value) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_code_in_the_file_is_not_run(tmp_path):
    for data in (pickle.dumps(Bomb(tmp_path / "boom")), b"", b"nonsense"):
        (tmp_path / "candy.pth").write_bytes(data)
        with pytest.raises(ArtifactError):
            convert_johnson(tmp_path / "candy.pth")
    torch.save({"conv1.conv2d.weight": Bomb(tmp_path / "boom")}, tmp_path / "candy.pth")
    with pytest.raises(ArtifactError):
        convert_johnson(tmp_path / "candy.pth")
    assert not (tmp_path / "boom").exists()


def test_the_convert_command(tmp_path, capsys):
    torch.save(network().state_dict(), tmp_path / "candy.pth")
    assert main(["convert", str(tmp_path / "candy.pth"), "-o", str(tmp_path / "candy"), "--name", "Candy"]) == 0
    assert "Next: metastyle stylize" in capsys.readouterr().out
    assert MetaStyle.from_pretrained(tmp_path / "candy").name == "Candy"
