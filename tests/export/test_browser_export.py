"""The folder of the browser page: graphs that equal PyTorch at any size, and a manifest that is true."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install '.[export]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[export]'")

from metastyle_hub.adaptation import ADAM_BETAS, AdaptationConfig
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.artifacts.serialization import Artifact, read_artifact
from metastyle_hub.errors import ArtifactError, ExportError
from metastyle_hub.export.browser import export_browser
from metastyle_hub.export.check import check_graph, run_graph
from metastyle_hub.export.layout import ParameterLayout
from metastyle_hub.export.plain import noise_inputs
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.networks.layers import noise_field
from metastyle_hub.networks.param_groups import trainable_parameters
from metastyle_hub.networks.style_predictor import StylePredictor
from metastyle_hub.networks.transformer_net import NetworkConfig, meta_network, transform

NETWORK = NetworkConfig(width=16, residual_blocks=1)
RECIPE = AdaptationConfig(steps=4, crop_size=64, batch_size=1, precision="float32")


def features():
    """A feature extractor whose weights are float16 values, as the exported file stores them."""
    extractor = tiny.features()
    for p in extractor.parameters():
        p.copy_(p.half().float())
    return extractor


def base_artifact(predictor: bool = True) -> Artifact:
    parameters, extractor = tiny.parameters(config=NETWORK), features()
    torch.manual_seed(0)
    network = StylePredictor(extractor.spec.gram_channels, 3, parameters)
    network.out.weight.data.normal_(std=0.1)
    state = {name: p.detach() for name, p in network.state_dict().items()}
    return Artifact(ArtifactConfig(kind="base", architecture=NETWORK), parameters, state if predictor else None)


def style_artifact(base: Artifact, fingerprint: str | None = None) -> Artifact:
    config = ArtifactConfig(
        kind="style", architecture=NETWORK, trainable="decoder",
        base_model=BaseReference(fingerprint or base.fingerprint),
    )  # fmt: skip
    return Artifact(config, trainable_parameters(tiny.parameters(1, NETWORK), "decoder"))


@pytest.fixture(scope="module")
def base() -> Artifact:
    return base_artifact()


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("page") / "model"
    styles = {"wave": style_artifact(base)}
    return export_browser(base, styles, target, recipes={"tiny": RECIPE}, steps=(2,), half=True, extractor=features())


def stored(base: Artifact) -> dict[str, torch.Tensor]:
    """The parameters as the folder has them: norms and decoder exactly, the others in float16."""
    own = trainable_parameters(base.parameters, "decoder")
    return {name: p if name in own else p.half().float() for name, p in base.parameters.items()}


@pytest.fixture(scope="module")
def manifest(folder) -> dict:
    return json.loads((folder / "browser.json").read_text())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 100)])
@pytest.mark.parametrize(("graph", "tolerance"), [("stylize", 1e-4), ("stylize_fp16", 2 / 255)])
def test_stylization_takes_any_style_and_size(base, folder, graph, tolerance, height, width):
    style = {**stored(base), **style_artifact(base).parameters}
    image = torch.from_numpy(tiny.content(height, width)).permute(2, 0, 1)[None] / 255
    inputs = {"image": image, "parameters": ParameterLayout.of(style).flatten(style)}
    for noise in noise_inputs(NETWORK):
        inputs[noise.name] = noise_field(noise.channels, height // noise.pixels, width // noise.pixels)
    found = run_graph(folder / f"{graph}.onnx", inputs)["stylized"]
    torch.testing.assert_close(found, transform(meta_network(NETWORK), style, image), rtol=0, atol=tolerance)


def test_gram_matrices_and_prediction(base, folder):
    image = torch.from_numpy(tiny.content(45, 71)).permute(2, 0, 1)[None] / 255  # odd at every scale
    grams = run_graph(folder / "grams.onnx", {"image": image})
    expected = PerceptualLoss(features()).style_grams(image, 3)
    assert len(grams) == len(expected) == 6
    for i, gram in enumerate(expected):
        torch.testing.assert_close(grams[f"gram_{i}"], gram, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        network = StylePredictor(features().spec.gram_channels, 3, base.parameters)
        network.load_state_dict({name: p.half().float() for name, p in base.predictor.items()})
        initial = base.parameters | network.initialization(base.parameters, expected)
    found = run_graph(folder / "predict.onnx", grams)["parameters"]
    layout = ParameterLayout.of(base.parameters)
    assert not torch.allclose(found, layout.flatten(base.parameters), atol=0.01)
    torch.testing.assert_close(found, layout.flatten(initial), rtol=1e-3, atol=1e-3)


def test_base_and_styles_are_artifacts_and_the_vector_is_the_data_of_a_style(base, folder, manifest):
    parameters = load_file(folder / manifest["base"]["weights"])
    assert all(torch.equal(parameters[name].float(), p) for name, p in stored(base).items())
    assert {p.dtype for p in parameters.values()} == {torch.float16, torch.float32}
    text = (folder / manifest["base"]["config"]).read_text()
    config = ArtifactConfig.from_json(text, "the base")
    assert config.weights_sha256 == hashlib.sha256((folder / manifest["base"]["weights"]).read_bytes()).hexdigest()
    assert manifest["base"]["fingerprint"] == base.fingerprint
    (entry,) = manifest["styles"]
    style = read_artifact((folder / entry["config"]).parent)
    file = (folder / entry["weights"]).read_bytes()
    data = np.frombuffer(file[8 + int.from_bytes(file[:8], "little") :], "<f4")
    assert data.size == manifest["parameter_count"]
    for p in manifest["parameters"]:
        values = torch.from_numpy(data[p["offset"] :][: torch.Size(p["shape"]).numel()].copy()).view(p["shape"])
        assert torch.equal(values, style.parameters[p["name"]])


def test_graphs_hold_no_weights_but_point_into_the_files(folder, manifest):
    for name, entry in manifest["graphs"].items():
        graph = onnx.load(folder / entry["file"], load_external_data=False).graph
        inline = [t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
        assert max(np.prod(t.dims) for t in inline) <= 8192  # smaller ones may be folded
        if name != "grams":  # all of whose weights are smaller here
            features = ["compact.safetensors"] if name.startswith("adapt") else []
            assert entry["external_data"] == ["base/model.safetensors", *features]
        assert [i.name for i in graph.input] == [i["name"] for i in entry["inputs"]]


def test_the_manifest_describes_inputs_and_files(folder, manifest):
    inputs = {i["name"]: i["shape"] for i in manifest["graphs"]["stylize"]["inputs"]}
    count = manifest["parameter_count"]
    assert inputs == {
        "image": [1, 3, "H", "W"],
        "parameters": [count],
        "noise_quarter": [1, 4, "H/4", "W/4"],
        "noise_half": [1, 2, "H/2", "W/2"],
    }
    step = manifest["graphs"]["adapt_tiny_decoder"]
    assert [i["name"] for i in step["inputs"]][:7] == [
        "parameters", "m", "v", "rates", "crops", "noise_quarter", "noise_half",
    ]  # fmt: skip
    assert [o["name"] for o in step["outputs"]] == ["parameters_out", "m_out", "v_out", "losses"]
    listed = {entry["path"] for entry in manifest["files"]}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert listed == there - {"browser.json"}
    for entry in manifest["files"]:
        data = (folder / entry["path"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_manifest_describes_the_noise(manifest):
    for name, channels in (("noise_quarter", 4), ("noise_half", 2)):
        entry = manifest["noise"][name]
        state, increment = (int(entry["pcg64"][key], 16) for key in ("state", "increment"))
        values = []
        for _ in range(4):  # as the docs describe it
            state = (state * 0x2360ED051FC65DA44385DF649FCCF645 + increment) % 2**128
            word, turn = (state >> 64) ^ (state % 2**64), state >> 122
            output = (word >> turn | word << (64 - turn)) % 2**64
            values.append(np.float32((((output >> 40) + 0.5) / 2**24 - 0.5) * 12**0.5))
        assert np.array_equal(values, noise_field(channels, 1, 4)[0, 0, 0].numpy())
        assert np.array_equal(values, np.float32(entry["first"]))
        assert (entry["channels"], entry["period"]) == (channels, 256)


def test_the_manifest_describes_the_recipe(manifest):
    recipe = manifest["recipes"]["tiny"]
    assert AdaptationConfig.from_dict(recipe["config"]) == RECIPE
    assert recipe["graphs"] == ["adapt_tiny", "adapt_tiny_decoder"] and set(recipe["schedules"]) == {"2", "4"}
    for t, entry in enumerate(recipe["schedules"]["4"]):
        ratio, (beta1, beta2) = RECIPE.lr_ratio(t), ADAM_BETAS
        expected = [
            RECIPE.norm_learning_rate * ratio,
            RECIPE.learning_rate * ratio * RECIPE.warmup(t),
            1 - beta1 ** (t + 1),
            1 - beta2 ** (t + 1),
        ]
        assert entry == {"graph": int(t >= 2), "rates": pytest.approx(expected)}
    config = ArtifactConfig.from_json(json.dumps(manifest["style_config"]), "the manifest")
    assert (config.kind, config.trainable, config.architecture) == ("style", "decoder", NETWORK)
    assert config.base_model.fingerprint == manifest["base"]["fingerprint"]


def test_what_cannot_be_exported_is_refused(base, tmp_path):
    with pytest.raises(ArtifactError, match="predictor"):
        export_browser(base_artifact(predictor=False), {}, tmp_path)
    with pytest.raises(ArtifactError, match="wave"):
        export_browser(base, {"wave": style_artifact(base, "0" * 64)}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_differs_is_refused(folder):
    image = torch.rand(1, 3, 40, 40)
    gram = run_graph(folder / "grams.onnx", {"image": image})["gram_0"]
    check_graph("grams.onnx", folder / "grams.onnx", {"image": image}, {"gram_0": gram}, 1e-3)
    with pytest.raises(ExportError, match="gram_0"):
        check_graph("grams.onnx", folder / "grams.onnx", {"image": image}, {"gram_0": gram * 1.01}, 1e-3)
    with pytest.raises(ExportError, match=r"grams\.onnx"):
        check_graph("grams.onnx", folder / "grams.onnx", {}, {}, 1e-3)
