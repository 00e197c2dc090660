"""Artifacts are saved bit for bit, whole or not at all; everything else is refused in one sentence."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from metastyle_hub.artifacts.config import CONFIG_FILE, FORMAT_VERSION, WEIGHTS_FILE, ArtifactConfig, BaseReference
from metastyle_hub.artifacts.serialization import Artifact, artifact_files, fingerprint, read_artifact
from metastyle_hub.artifacts.storage import write_files
from metastyle_hub.errors import ArtifactError, MetaStyleError
from metastyle_hub.networks.param_groups import Parameters, norm_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet, transform

BASE = ArtifactConfig("base", tiny.NETWORK, name="tiny", training={"steps": 3})
STYLE = ArtifactConfig(
    "style",
    tiny.NETWORK,
    name="waves",
    base_model=BaseReference(fingerprint(tiny.parameters()), "me/base", "abc"),
    steps=7,
    adaptation={"steps": 7, "learning_rate": 0.001},
    style_sha256="0" * 64,
)


def write_artifact(folder: Path, config: ArtifactConfig, parameters: Parameters, extra: dict | None = None) -> Path:
    return write_files(folder, artifact_files(Artifact(config, parameters), extra))


def refusal(folder: Path, *parts: str) -> None:
    """The folder is refused in one sentence that names it and holds the given parts."""
    with pytest.raises(ArtifactError) as error:
        read_artifact(folder)
    sentence = str(error.value)
    assert isinstance(error.value, MetaStyleError)
    assert "\n" not in sentence and sentence.endswith(".") and str(folder) in sentence, sentence
    assert all(part in sentence for part in parts), sentence


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / CONFIG_FILE
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "base", BASE, tiny.parameters())


# --- what is written comes back


@pytest.mark.parametrize("config", [BASE, STYLE], ids=["base", "style"])
def test_an_artifact_is_loaded_bit_for_bit(tmp_path, config):
    parameters = tiny.parameters(1)
    read = read_artifact(write_artifact(tmp_path / "a" / "b", config, parameters))
    assert read.config == config
    assert tiny.same(read.parameters, parameters)
    network, photo = TransformerNet(tiny.NETWORK), tiny.contents(1)
    with torch.no_grad():
        assert torch.equal(transform(network, read.parameters, photo), transform(network, parameters, photo))


def test_a_norm_style_holds_weights_and_biases_of_norms_and_is_small(tmp_path):
    paper = NetworkConfig()
    parameters = norm_parameters(tiny.parameters(config=paper))
    config = ArtifactConfig("style", paper, trainable="norm", base_model=BaseReference("f" * 64))
    folder = write_artifact(tmp_path, config, parameters)
    read = read_artifact(folder)
    assert sum(p.numel() for p in read.parameters.values()) == 3200
    assert tiny.same(read.parameters, parameters)
    # 12,800 bytes of values; the rest are names
    assert (folder / WEIGHTS_FILE).stat().st_size < 12_800 + 4_000


def test_the_files_are_what_the_ecosystem_expects(base):
    assert sorted(p.name for p in base.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    with safe_open(base / WEIGHTS_FILE, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    values = json.loads((base / CONFIG_FILE).read_text())
    assert values["format_version"] == FORMAT_VERSION and values["kind"] == "base"
    assert values["architecture"] == tiny.NETWORK.to_dict()
    assert "adaptation" not in values, "what says nothing is left out"


def test_further_files_are_written(tmp_path):
    write_artifact(tmp_path, BASE, tiny.parameters(), {"README.md": b"# card"})
    assert (tmp_path / "README.md").read_bytes() == b"# card"
    read_artifact(tmp_path)


def test_the_same_artifact_gives_the_same_bytes(tmp_path):
    first, second = (write_artifact(tmp_path / n, STYLE, tiny.parameters(1)) for n in "ab")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (first / name).read_bytes() == (second / name).read_bytes()


# --- the fingerprint


def test_the_fingerprint_tells_parameters_apart_and_nothing_else():
    parameters = tiny.parameters()
    reordered = dict(reversed(parameters.items()))
    strided = {name: p.to(memory_format=torch.channels_last) if p.ndim == 4 else p for name, p in parameters.items()}
    assert fingerprint(parameters) == fingerprint(reordered) == fingerprint(strided)
    assert len(fingerprint(parameters)) == 64
    moved = {name: p.clone() for name, p in parameters.items()}
    moved["to_rgb.bias"][0] = torch.nextafter(moved["to_rgb.bias"][0], torch.tensor(9.0))
    reshaped = {**parameters, "to_rgb.bias": parameters["to_rgb.bias"].reshape(1, 3)}
    renamed = {**parameters, "bias": parameters["to_rgb.bias"]}
    renamed.pop("to_rgb.bias")
    assert len({fingerprint(p) for p in (parameters, moved, reshaped, renamed)}) == 4


# --- what is refused


def test_a_folder_that_is_not_there(tmp_path):
    refusal(tmp_path / "none", str(tmp_path))


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    refusal(tmp_path / "file", str(tmp_path))


def test_an_empty_folder(tmp_path):
    refusal(tmp_path, "config.json", "model.safetensors")


def test_pickles_are_never_read(tmp_path):
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "model.pth").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / CONFIG_FILE).write_text(BASE.to_json())
    refusal(tmp_path, "model.safetensors", "model.pth")
    (tmp_path / WEIGHTS_FILE).write_bytes(pickle.dumps(Bomb()))
    refusal(tmp_path, "model.safetensors")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("cut", [0, 5, 100, 2000, -1])
def test_truncated_weights(base, cut):
    data = (base / WEIGHTS_FILE).read_bytes()
    (base / WEIGHTS_FILE).write_bytes(data[:cut])
    refusal(base, "model.safetensors", "model.safetensors")


@pytest.mark.parametrize("text", ["", "{", "not json", "[1, 2", b"\xff\xfe\x00"])
def test_a_config_that_is_not_json(base, text):
    (base / CONFIG_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    refusal(base)


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", '{"model_type": "bert"}', '{"kind": "lora"}', '{"kind": ["base"]}']
)
def test_a_config_of_another_library(base, text):
    (base / CONFIG_FILE).write_text(text)
    refusal(base, "config.json")


def test_a_newer_format_names_the_update(base):
    edit_config(base, format_version=FORMAT_VERSION + 1)
    refusal(base, str(FORMAT_VERSION + 1), "pip install -U metastyle-hub")


@pytest.mark.parametrize("version", [0, "1", None, 1.5])
def test_an_invalid_format_version(base, version):
    edit_config(base, format_version=version)
    refusal(base, "format_version")


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"width": 0}},
        {"architecture": {"width": "wide"}},
        {"architecture": 3},
        {"architecture": {"width": 10**9}},
        {"architecture": {"residual_blocks": 10**9}},
        {"base_model": {"repo_id": "me/x"}},
        {"base_model": "me/x"},
        {"trainable": "some"},
        {"trainable": ["all"]},
    ],
    ids=str,
)
def test_invalid_values(base, changes):
    edit_config(base, **changes)
    refusal(base)


def test_a_huge_network_is_refused_before_it_is_built(base):
    edit_config(base, architecture={"width": 129})
    refusal(base, "width", "129", "128")
    edit_config(base, architecture={"residual_blocks": 33})
    refusal(base, "residual_blocks", "33", "32")


def test_a_boolean_is_true_or_false(base):
    edit_config(base, architecture={**tiny.NETWORK.to_dict(), "logit_skip": "false"})
    refusal(base, "logit_skip", "'false'")


def test_a_config_nested_without_end(base):
    (base / CONFIG_FILE).write_text("[" * 200_000)
    refusal(base, "config.json")


def test_a_whole_number_may_be_written_as_a_float(base):
    edit_config(base, architecture={"width": 4.0, "residual_blocks": 1.0})
    assert read_artifact(base).config == BASE


def test_a_style_without_a_base(tmp_path):
    folder = write_artifact(tmp_path, STYLE, tiny.parameters())
    edit_config(folder, base_model=...)
    refusal(folder, "base_model")


def test_unknown_keys_warn_and_are_ignored(base, caplog):
    edit_config(base, sparkle=True, architecture={"width": 4, "residual_blocks": 1, "depth": 2})
    with caplog.at_level(logging.WARNING):
        assert read_artifact(base).config == BASE
    assert "'sparkle'" in caplog.text and "'depth'" in caplog.text


def damaged(base: Path, damage: str) -> str:
    """Damages the weights, and says what the refusal must name."""
    tensors = load_file(base / WEIGHTS_FILE)
    if damage == "missing":
        tensors.pop("to_rgb.bias")
    elif damage == "extra":
        tensors["lora.bias"] = torch.zeros(3)
    elif damage == "shape":
        tensors["to_rgb.bias"] = torch.zeros(4)
    elif damage == "rank":
        tensors["to_rgb.bias"] = torch.zeros(3, 1)
    elif damage == "nan":
        tensors["to_rgb.bias"][1] = torch.nan
    elif damage == "infinite":
        tensors["to_rgb.bias"][1] = -torch.inf
    elif damage == "beyond float32":
        tensors["to_rgb.bias"] = torch.full((3,), 1e300, dtype=torch.float64)
    elif damage == "float8":
        tensors["to_rgb.bias"] = torch.ones(3).to(torch.float8_e4m3fn)
    elif damage == "integers":
        tensors["to_rgb.bias"] = torch.ones(3, dtype=torch.int32)
    save_file(tensors, base / WEIGHTS_FILE)
    return "lora.bias" if damage == "extra" else "to_rgb.bias"


@pytest.mark.parametrize(
    "damage", ["missing", "extra", "shape", "rank", "nan", "infinite", "beyond float32", "float8", "integers"]
)
def test_tensors_that_do_not_match_the_config(base, damage):
    refusal(base, damaged(base, damage))


def test_a_whole_network_is_no_norm_style(tmp_path):
    folder = write_artifact(tmp_path, STYLE, tiny.parameters())
    edit_config(folder, trainable="norm")
    refusal(folder, "decoder.0.conv.bias")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_read_as_float32(base, dtype):
    save_file({name: p.to(dtype) for name, p in tiny.parameters().items()}, base / WEIGHTS_FILE)
    edit_config(base, weights_sha256=...)
    assert all(p.dtype == torch.float32 for p in read_artifact(base).parameters.values())


# --- whole or not at all


def test_a_failed_write_leaves_the_old_artifact_and_no_other_file(base, monkeypatch):
    before = {p.name: p.read_bytes() for p in base.iterdir()}
    write_bytes, written = Path.write_bytes, []

    def disk_full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 2:  # in the middle of the second file
            write_bytes(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(ArtifactError):
        write_artifact(base, STYLE, tiny.parameters(9))
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in base.iterdir()} == before
    assert read_artifact(base).config == BASE


def test_an_interrupted_write_leaves_no_artifact(tmp_path, monkeypatch):
    def interrupted(path: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_artifact(tmp_path / "new", BASE, tiny.parameters())
    assert list((tmp_path / "new").iterdir()) == []


def test_an_open_file_can_be_read_to_the_end_while_it_is_replaced(base):
    before = (base / WEIGHTS_FILE).read_bytes()
    with (base / WEIGHTS_FILE).open("rb") as reader:
        start = reader.read(100)
        write_artifact(base, STYLE, tiny.parameters(9))
        assert start + reader.read() == before
    assert read_artifact(base).config == STYLE


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError) as error:
        write_artifact(tmp_path / "file", BASE, tiny.parameters())
    assert str(tmp_path / "file") in str(error.value) and "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "x"
