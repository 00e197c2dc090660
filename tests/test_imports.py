"""Importing the library must touch no device, no network and not gradio."""

import ast
import json
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import tiny

import metastyle_hub

PROBE = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was touched")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import {module}
import torch
state = sys.modules.get("accelerate.state")
print(json.dumps({{
    "modules": sorted(sys.modules),
    "cuda": torch.cuda.is_initialized(),
    "accelerate": bool(state and state.PartialState._shared_state),
}}))
"""


@pytest.mark.parametrize("module", ["metastyle_hub", "metastyle_hub.cli, metastyle_hub.training.long_horizon"])
def test_an_import_touches_no_device_no_network_and_not_gradio(module):
    done = tiny.python("-c", PROBE.format(module=module))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["cuda"] and not found["accelerate"]
    assert "metastyle_hub.model" in found["modules"]
    for heavy in ("gradio", "accelerate", "huggingface_hub", "torchvision", "matplotlib", "av"):
        assert heavy not in found["modules"], heavy


def imports_of(file: Path) -> set[str]:
    """Modules of the package that a module names in import statements, wherever these stand."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    return {n.module.partition(".")[2] for n in nodes if n.module and n.module.startswith("metastyle_hub.")}


def test_the_arrows_between_modules_point_one_way():
    root = Path(metastyle_hub.__file__).parent
    parts = {file.relative_to(root).with_suffix("").parts: imports_of(file) for file in root.rglob("*.py")}
    modules = {".".join(path): found for path, found in parts.items() if path[-1] != "__init__"}
    # raises CycleError with the modules in a circle
    order = list(TopologicalSorter(modules).static_order())
    below = ["network", "skeletons", "artifacts.files", "hub.reading", "loading", "model", "meta_training.trainer"]
    assert sorted(below, key=order.index) == below


def test_the_arrows_between_folders_point_one_way():
    root = Path(metastyle_hub.__file__).parent
    arrows: dict[str, set[str]] = {}
    for file in root.rglob("*.py"):
        if file != root / "__init__.py":
            room = file.relative_to(root).parts[0].removesuffix(".py")
            arrows.setdefault(room, set()).update(name.partition(".")[0] for name in imports_of(file))
    order = list(TopologicalSorter({room: found - {room} for room, found in arrows.items()}).static_order())
    below = ["artifacts", "hub", "model", "meta_training", "cli"]
    assert sorted(below, key=order.index) == below


def test_the_public_names_are_there():
    work = {"MetaStyle", "StyleStep", "interpolate", "list_styles", "AdaptationConfig", "LossWeights", "HubStyle"}
    work |= {"VideoConfig"}
    errors = {"MetaStyleError", "AdaptationError", "ArtifactError", "DeviceError", "FeatureExtractorError", "HubError"}
    errors |= {"ImageError", "InterpolationError", "SettingError", "VideoError"}
    assert set(metastyle_hub.__all__) == work | errors | {"__version__"}
    assert all(issubclass(getattr(metastyle_hub, name), metastyle_hub.MetaStyleError) for name in errors)
