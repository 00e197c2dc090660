"""The import graph has the shape that docs/design.md states, and importing the library costs little."""

from __future__ import annotations

import ast
import json
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import tiny

import metastyle_hub

ROOT = Path(__file__).parents[1]
PACKAGE = Path(metastyle_hub.__file__).parent

# every room may import only those of earlier lines
LAYERS = [
    {"errors", "signals", "version"},
    {"config", "devices"},
    {"images", "networks"},
    {"losses", "data", "interpolation", "tiling", "video"},
    {"adaptation", "stylization", "baselines", "artifacts"},
    {"hub", "export"},
    {"model"},
    {"training", "app", "__init__"},
    {"cli"},
    {"__main__", "scripts", "space"},
]
MAX_ROOMS, MAX_LAYERS, MAX_EDGES, MAX_TOP_LEVEL_MODULES = 27, 9, 140, 14

PROBE = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was used")

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


@pytest.mark.parametrize("module", ["metastyle_hub.model", "metastyle_hub.training.long_horizon"])
def test_an_import_uses_no_device_no_network_and_not_gradio(module):
    done = tiny.python("-c", PROBE.format(module=module))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["cuda"] and not found["accelerate"]
    assert "metastyle_hub.model" in found["modules"]
    for heavy in ("gradio", "accelerate", "huggingface_hub", "torchvision", "matplotlib", "av"):
        assert heavy not in found["modules"], heavy


def test_the_package_itself_imports_no_torch():
    done = tiny.python("-c", "import sys, metastyle_hub; print(metastyle_hub.__version__, 'torch' in sys.modules)")
    assert done.stdout.split() == [metastyle_hub.__version__, "False"], done.stderr


def imported_modules(file: Path) -> set[str]:
    """The modules of the package that a file imports, anywhere in it, such as "images.io"; "" is the package itself."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "metastyle_hub" and (rest == "" or exists(rest)):
                found.add(rest)
    # `from metastyle_hub.x import y` names the package only as a prefix
    return found if "" not in found or is_package_import(file) else found - {""}


def is_package_import(file: Path) -> bool:
    text = file.read_text(encoding="utf-8")
    return "from metastyle_hub import" in text or "import metastyle_hub\n" in text


def exists(module: str) -> bool:
    path = PACKAGE.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def room_of(module: str) -> str:
    return module.partition(".")[0] or "__init__"


def room_graph() -> dict[str, set[str]]:
    """Rooms and those that they import. A folder is one room, a module outside folders is one."""
    graph: dict[str, set[str]] = {}
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), *(ROOT / "space").rglob("*.py")]:
        if PACKAGE in file.parents:
            room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        else:
            room = file.relative_to(ROOT).parts[0]
        graph.setdefault(room, set()).update(room_of(module) for module in imported_modules(file))
    return {room: found - {room} for room, found in graph.items()}


def test_modules_do_not_import_each_other_in_a_circle():
    modules = {
        ".".join(file.relative_to(PACKAGE).with_suffix("").parts): imported_modules(file)
        for file in PACKAGE.rglob("*.py")
        if file.name != "__init__.py"
    }
    list(TopologicalSorter(modules).static_order())  # raises CycleError with the modules of a circle


def test_arrows_between_rooms_point_one_way():
    graph = room_graph()
    level = {room: i for i, rooms in enumerate(LAYERS) for room in rooms}
    assert set(graph) <= set(level)
    upwards = [(room, other) for room, others in graph.items() for other in others if level[other] > level[room]]
    assert not upwards
    list(TopologicalSorter(graph).static_order())


def test_the_house_stays_small():
    graph = room_graph()
    depth: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        depth[room] = 1 + max((depth[other] for other in graph[room]), default=0)
    assert len(graph) <= MAX_ROOMS
    assert max(depth.values()) <= MAX_LAYERS
    assert sum(map(len, graph.values())) <= MAX_EDGES
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_TOP_LEVEL_MODULES


def test_the_public_names_are_there():
    names = {"MetaStyle", "StyleStep", "interpolate", "list_styles", "AdaptationConfig", "LossWeights", "HubStyle"}
    names |= {"VideoConfig"}
    errors = {"MetaStyleError", "AdaptationError", "ArtifactError", "DeviceError", "FeatureExtractorError", "HubError"}
    errors |= {"ExportError", "ImageError", "InterpolationError", "SettingError", "VideoError"}
    assert set(metastyle_hub.__all__) == names | errors | {"__version__"} and names <= set(dir(metastyle_hub))
    assert all(issubclass(getattr(metastyle_hub, name), metastyle_hub.MetaStyleError) for name in errors)
    assert issubclass(metastyle_hub.HubError, OSError)
    with pytest.raises(AttributeError):
        metastyle_hub.NoSuchName  # noqa: B018
