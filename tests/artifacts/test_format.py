"""docs/format.md against the library: its reader reads what the library writes, its tables are the code's."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hub_fixtures import make_style
from safetensors.torch import load_file, save_file

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.config import CONFIG_FILE, FORMAT_VERSION, WEIGHTS_FILE, ArtifactConfig, BaseReference
from metastyle_hub.hub.download import EMBEDDED
from metastyle_hub.networks.param_groups import TRAINABLE, norm_parameters, trainable_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, meta_network

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
STYLES = sorted((ROOT / "space" / "styles").iterdir())


@pytest.fixture
def reader() -> dict[str, Any]:
    functions: dict[str, Any] = {}
    exec(compile(CODE, "docs/format.md", "exec"), functions)
    return functions


def section(title: str) -> str:
    """The text between a heading and the next."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without their heads."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    heads = {i - 1 for i, cells in enumerate(lines) if set(cells[0]) == {"-"}}
    return [cells for i, cells in enumerate(lines) if i not in heads and set(cells[0]) != {"-"}]


# ---- the reader


def test_the_reader_is_short_and_needs_no_library_of_ours():
    assert "metastyle_hub" not in CODE
    assert len([line for line in CODE.splitlines() if line.strip()]) <= 30


def test_the_reader_reads_the_base_that_ships(reader):
    base = MetaStyle.from_pretrained()
    read = reader["read"](EMBEDDED)
    assert tiny.same(read, base.state_dict())
    assert reader["fingerprint"](read) == base.fingerprint and base.fingerprint in TEXT


@pytest.mark.parametrize("folder", STYLES[:3], ids=lambda folder: folder.name)
def test_the_reader_reads_the_styles_that_ship(reader, folder):
    read = reader["read"](folder, reader["read"](EMBEDDED))
    assert tiny.same(read, MetaStyle.from_pretrained(folder).state_dict())


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_the_reader_reads_what_is_saved(reader, base, tmp_path, trainable):
    style = make_style(base, 1, trainable)
    read = reader["read"](base.save_pretrained(tmp_path / "base"))
    assert tiny.same(read, base.state_dict())
    assert tiny.same(reader["read"](style.save_pretrained(tmp_path / "style"), read), style.state_dict())


def test_the_reader_refuses_another_base_version_or_tensor(reader, base, tmp_path):
    folder = make_style(base, 1).save_pretrained(tmp_path)
    for other in (None, tiny.parameters(5)):
        with pytest.raises(ValueError) as error:
            reader["read"](folder, other)
        assert base.fingerprint in str(error.value)
    tensors = load_file(folder / WEIGHTS_FILE)
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"weights_sha256": None}))
    changes = {"encoder.9.norm.bias": torch.zeros(4)}, {"to_rgb.bias": torch.full((3,), torch.nan)}
    for change in changes:
        save_file(tensors | change, folder / WEIGHTS_FILE)
        with pytest.raises(ValueError):
            reader["read"](folder, base.state_dict())
    save_file(tensors, folder / WEIGHTS_FILE)
    for change in ({"format_version": FORMAT_VERSION + 1}, {"kind": "lora"}, {"weights_sha256": "0" * 64}):
        (folder / CONFIG_FILE).write_text(json.dumps(config | change))
        with pytest.raises(ValueError):
            reader["read"](folder, base.state_dict())


# ---- the tables


@pytest.mark.parametrize("cls", [ArtifactConfig, NetworkConfig, BaseReference])
def test_the_tables_of_keys_are_the_fields_of_the_code(cls):
    keys = [cells[0].strip("`") for cells in rows(section("config.json"))]
    assert len(keys) == len(set(keys))
    assert {field.name for field in dataclasses.fields(cls)} <= set(keys)
    every = {field.name for c in (ArtifactConfig, NetworkConfig, BaseReference) for field in dataclasses.fields(c)}
    assert set(keys) == every


def test_the_defaults_of_the_architecture_are_those_of_the_code():
    default = {cells[0].strip("`"): cells[2] for cells in rows(section("config.json")) if len(cells) == 4}
    assert {key: json.loads(default[key]) for key in NetworkConfig().to_dict()} == NetworkConfig().to_dict()


@pytest.mark.parametrize("config", [NetworkConfig(), tiny.NETWORK])
def test_the_table_of_tensors_is_the_network(config):
    shapes: dict[str, tuple[int, ...]] = {}
    for layers, weight, bias, _ in rows(section("Tensors").split("The groups")[0]):
        for layer in re.findall(r"`([^`]+)`", layers):
            for b in range(config.residual_blocks) if ".b." in layer else (0,):
                name = layer.replace(".b.", f".{b}.")
                sizes = [
                    tuple(int(part[:-1] or 1) * config.width if part.endswith("n") else int(part) for part in parts)
                    for parts in (re.findall(r"\d*n|\d+", text) for text in (weight, bias))
                ]
                shapes |= {f"{name}.weight": sizes[0], f"{name}.bias": sizes[1]}
                if layer.endswith(".conv"):
                    norm = name.removesuffix("conv") + "norm"
                    shapes |= {f"{norm}.weight": sizes[1], f"{norm}.bias": sizes[1]}
    assert shapes == {name: tuple(p.shape) for name, p in meta_network(config).named_parameters()}


def test_the_table_of_groups_has_their_sizes():
    network = dict(meta_network(NetworkConfig()).named_parameters())
    sizes = {cells[0].strip('"'): cells[2] for cells in rows(section("Tensors").split("The groups")[1])}
    assert {trainable: f"{sum(p.numel() for p in trainable_parameters(network, trainable).values()):,}"
            for trainable in TRAINABLE} == sizes  # fmt: skip


def test_the_table_of_the_predictor_names_its_tensors():
    tensors = {k: v for k, v in load_file(EMBEDDED / WEIGHTS_FILE).items() if k.startswith("predictor.")}
    named = re.findall(r"`(predictor[^`]*)`(?:, `(\.bias)`)?", section("Predictor").split("D_k is")[0])
    names = {name for name, _ in named} | {name.replace(".weight", bias) for name, bias in named if bias}
    assert names == {re.sub(r"directions\.\d", "directions.k", name) for name in tensors}
    directions = [tensors[f"predictor.directions.{k}"] for k in range(9)]
    assert tensors["predictor.mean"].numel() == sum(len(d) for d in directions) + len(directions)
    norms = norm_parameters(dict(meta_network(NetworkConfig()).named_parameters()))
    assert tensors["predictor.out.bias"].numel() == sum(p.numel() for p in norms.values())
