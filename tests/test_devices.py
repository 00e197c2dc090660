"""A device is one that is there, or one sentence says why not."""

import platform

import pytest
import tiny
import torch

from metastyle_hub.devices import DeviceError, enough_memory, keep_freed_memory, resolve_device, training_dtype
from metastyle_hub.errors import MetaStyleError


@pytest.mark.parametrize("auto", [None, "auto"])
def test_auto_is_the_accelerator_if_there_is_one(auto, monkeypatch):
    assert resolve_device(auto) == torch.device("cpu")  # ACCELERATE_USE_CPU, see conftest.py
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    found = resolve_device(auto)
    assert (found.type != "cpu") == torch.accelerator.is_available()


def test_auto_joins_no_process_group():
    # as in a training script of somebody else, of which this is one process of two
    code = """
import faulthandler, sys
faulthandler.dump_traceback_later(60, exit=True)  # who joins a group waits for the other process
from metastyle_hub.devices import resolve_device
assert resolve_device("auto").type
state = sys.modules.get("accelerate.state")
assert not (state and state.PartialState._shared_state)
assert not sys.modules["torch"].distributed.is_initialized()
"""
    group = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = tiny.python("-c", code, **group)
    assert done.returncode == 0, done.stderr


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


def test_a_lack_of_memory_is_one_sentence():
    with (
        pytest.raises(DeviceError, match=r"^There is not enough memory on cpu for a test; use a smaller size\.$"),
        enough_memory("a test", torch.device("cpu"), "a smaller size"),
    ):
        torch.empty(1 << 60)


def test_other_failures_stay_what_they_are():
    for error in (RuntimeError("a bug"), NotImplementedError("abstract"), ValueError("x")):
        with pytest.raises(type(error)) as caught, enough_memory("a test", torch.device("cpu"), "a smaller size"):
            raise error
        assert caught.value is error


def test_an_operation_that_an_accelerator_lacks_is_one_sentence():
    with (
        pytest.raises(DeviceError, match=r"^A test fails on mps \(no linalg\); use device='cpu'\.$"),
        enough_memory("a test", torch.device("mps"), "a smaller size"),
    ):
        raise NotImplementedError("no linalg.\nSee the tracker.")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_is_resolved_where_it_is():
    assert resolve_device("cuda") == torch.device("cuda", torch.cuda.current_device()) == torch.empty(1).cuda().device
    assert training_dtype(torch.device("cuda")) in (torch.float32, torch.bfloat16)


def test_freed_memory_is_kept_for_the_next_tensor():
    code = """
import os, sys, torch
from metastyle_hub.devices import keep_freed_memory
told = sys.argv[1] == "keep" and keep_freed_memory()
assert told or sys.argv[1] == "leave"
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20  # MB
before = resident()
large = torch.ones(64, 2**20)  # 256 MB
there = resident()
del large
print(before, there, resident())
"""
    if platform.libc_ver()[0] != "glibc":
        assert not keep_freed_memory()
        return
    for what, kept in (("leave", False), ("keep", True)):
        done = tiny.python("-c", code, what)
        assert done.returncode == 0, done.stderr
        before, there, after = map(int, done.stdout.split())
        assert there - before > 200
        assert (after - before > 200) == kept
