"""The ComfyUI nodes, with the part of ComfyUI's V3 interface that they use."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

FILE = Path(__file__).parents[2] / "integrations" / "comfyui" / "__init__.py"


class Kind:
    """A type of ComfyUI's sockets."""

    def __init__(self, name: str) -> None:
        self.name = name

    def Input(self, id: str, **options: Any) -> tuple[str, str, dict[str, Any]]:
        return self.name, id, options

    def Output(self, **options: Any) -> tuple[str, dict[str, Any]]:
        return self.name, options


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    kinds = {name: Kind(name) for name in ("String", "Image", "Int", "Float", "Boolean", "Mask")}
    io = SimpleNamespace(
        ComfyNode=object, Schema=lambda **fields: SimpleNamespace(**fields), NodeOutput=lambda *values: values,
        Custom=Kind, **kinds,
    )  # fmt: skip
    latest = ModuleType("comfy_api.latest")
    latest.io, latest.ComfyExtension = io, object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comfy_api", ModuleType("comfy_api"))
    monkeypatch.setitem(sys.modules, "comfy_api.latest", latest)
    spec = importlib.util.spec_from_file_location("comfyui_nodes", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images(count: int) -> torch.Tensor:
    return tiny.contents(count, 40).permute(0, 2, 3, 1)


def test_every_node_takes_the_inputs_of_its_schema(nodes):
    found = asyncio.run(asyncio.run(nodes.comfy_entrypoint()).get_node_list())
    assert len({node.define_schema().node_id for node in found}) == 4
    for node in found:
        code, schema = node.execute.__func__.__code__, node.define_schema()
        assert list(code.co_varnames[1 : code.co_argcount]) == [id for _, id, _ in schema.inputs]


@torch.inference_mode()
def test_adapt_mix_and_stylize(nodes, base, tmp_path):
    (loaded,) = nodes.LoadStyle.execute(str(base.save_pretrained(tmp_path / "base")))
    mask = torch.zeros(1, 40, 40)
    mask[..., :20] = 1
    (first,) = nodes.AdaptStyle.execute(images(2), 1, 0, base=loaded, style_mask=mask)
    (second,) = nodes.AdaptStyle.execute(images(1), 1, 3, base=loaded)
    (mix,) = nodes.MixStyles.execute(first, second, 0.25)
    (stylized,) = nodes.StylizeImages.execute(images(2), mix, 1.0, False)
    assert stylized.shape == (2, 40, 40, 3) and not torch.equal(stylized, images(2))
    (masked,) = nodes.StylizeImages.execute(images(2), mix, 1.0, True, mask=mask)
    assert torch.equal(masked[:, :, 25:], images(2)[:, :, 25:])
