"""The package imports its names on first use, so that what needs no torch is quick."""

from __future__ import annotations

import pickle

import tiny

import metastyle_hub


def test_names_are_imported_on_first_use():
    code = """
import sys, metastyle_hub
assert not {"torch", "numpy", "PIL", "huggingface_hub"} & sys.modules.keys()
assert set(metastyle_hub.__all__) <= set(dir(metastyle_hub))
assert "torch" not in sys.modules, "dir() imports nothing"
metastyle_hub.HubError
assert "torch" not in sys.modules, "the errors need no torch"
model = metastyle_hub.MetaStyle
assert "torch" in sys.modules and model is metastyle_hub.MetaStyle
from metastyle_hub import MetaStyle, interpolate
assert model is MetaStyle and metastyle_hub.interpolate is interpolate
assert not {"gradio", "accelerate", "huggingface_hub"} & sys.modules.keys()
"""
    done = tiny.python("-c", code)
    assert done.returncode == 0, done.stderr


def test_every_public_name_can_be_imported():
    for name in metastyle_hub.__all__:
        assert getattr(metastyle_hub, name) is not None
    namespace: dict[str, object] = {}
    exec("from metastyle_hub import *", namespace)
    assert set(metastyle_hub.__all__) <= namespace.keys()


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(metastyle_hub, "MetaStyles")
    assert not hasattr(metastyle_hub, "load_style")


def test_errors_are_of_the_kinds_that_callers_catch():
    assert issubclass(metastyle_hub.HubError, OSError)
    for name in ("ImageError", "SettingError", "DeviceError", "ArtifactError", "InterpolationError", "VideoError"):
        assert issubclass(getattr(metastyle_hub, name), ValueError)
    assert issubclass(metastyle_hub.AdaptationError, ArithmeticError)
    for name in metastyle_hub.__all__:
        if name.endswith("Error"):
            cls = getattr(metastyle_hub, name)
            assert issubclass(cls, metastyle_hub.MetaStyleError)
            assert str(pickle.loads(pickle.dumps(cls("a sentence")))) == "a sentence"
