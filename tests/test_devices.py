"""A device is one that is there, or one sentence says why not."""

import pytest
import torch

from metastyle_hub.devices import DeviceError, resolve_device, training_dtype
from metastyle_hub.errors import MetaStyleError


def test_auto_is_accelerate_s_choice():
    from accelerate import PartialState

    for auto in (None, "auto"):
        assert resolve_device(auto) == torch.device(PartialState().device)


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu")])
def test_a_device_by_name(name):
    assert resolve_device(name) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "balanced", 3.5, {"": 0}])
def test_unknown_names_are_answered_with_the_known_ones(name):
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    sentence = str(caught.value)
    assert isinstance(caught.value, MetaStyleError) and isinstance(caught.value, ValueError)
    assert repr(name) in sentence and "'auto'" in sentence and "\n" not in sentence


@pytest.mark.parametrize("name", ["cuda:99", "mps:7", "xpu:50"])
def test_a_device_that_is_not_there_is_refused_before_it_is_used(name):
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    sentence = str(caught.value)
    assert repr(name) in sentence and "'cpu'" in sentence and "\n" not in sentence and sentence.endswith(".")


def test_meta_holds_no_numbers():
    with pytest.raises(DeviceError, match="holds no numbers"):
        resolve_device("meta")


def test_training_is_in_an_arithmetic_that_the_device_has():
    dtype = training_dtype(torch.device("cpu"))
    assert dtype in (torch.float32, torch.bfloat16)
    conv = torch.nn.Conv2d(3, 4, 3).to(dtype)
    assert conv(torch.rand(1, 3, 8, 8, dtype=dtype)).dtype == dtype
    assert training_dtype(torch.device("mps")) == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_is_resolved_where_it_is():
    assert resolve_device("cuda").type == "cuda"
    assert training_dtype(torch.device("cuda")) in (torch.float32, torch.bfloat16)
