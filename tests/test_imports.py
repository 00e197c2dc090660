"""Importing the library must touch no device, no network and not gradio."""

import json

import pytest
import tiny

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


@pytest.mark.parametrize("module", ["metastyle_hub", "metastyle_hub.cli, metastyle_hub.meta_training"])
def test_an_import_touches_no_device_no_network_and_not_gradio(module):
    done = tiny.python("-c", PROBE.format(module=module))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["cuda"] and not found["accelerate"]
    assert "metastyle_hub.model" in found["modules"] or "cli" in module
    for heavy in ("gradio", "accelerate", "huggingface_hub", "torchvision", "matplotlib"):
        assert heavy not in found["modules"], heavy


def test_the_public_names_are_there():
    import metastyle_hub

    for name in metastyle_hub.__all__:
        assert getattr(metastyle_hub, name) is not None
    assert {"MetaStyle", "MetaStyleError", "interpolate", "AdaptationConfig"} <= set(metastyle_hub.__all__)
