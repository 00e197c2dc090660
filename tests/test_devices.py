"""A device exists, or the error names it and another one."""

import os
import platform

import pytest
import tiny
import torch

from metastyle_hub.devices import (
    at_least_float32,
    keep_freed_memory,
    memory_errors,
    resolve_device,
    resolve_dtype,
    training_dtype,
)
from metastyle_hub.errors import DeviceError, MetaStyleError

CPU = torch.device("cpu")


def test_auto_is_the_accelerator_if_there_is_one(monkeypatch):
    assert resolve_device("auto") == CPU  # ACCELERATE_USE_CPU, see conftest.py
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    found = resolve_device("auto")
    assert (found.type != "cpu") == torch.accelerator.is_available()


def test_auto_joins_no_process_group():
    # as in a training script of somebody else, of which this is one process of two
    code = """
import faulthandler, sys
faulthandler.dump_traceback_later(60, exit=True)  # joining a group would wait for the other process
from metastyle_hub.devices import resolve_device
assert resolve_device("auto").type
state = sys.modules.get("accelerate.state")
assert not (state and state.PartialState._shared_state)
assert not sys.modules["torch"].distributed.is_initialized()
"""
    group = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = tiny.python("-c", code, **group)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["cpu", CPU])
def test_a_device_by_name(name):
    assert resolve_device(name) == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "balanced", 3.5, {"": 0}, None])
def test_unknown_names_are_answered_with_the_known_ones(name):
    with pytest.raises(DeviceError) as error:
        resolve_device(name)
    sentence = str(error.value)
    assert isinstance(error.value, MetaStyleError) and isinstance(error.value, ValueError)
    assert repr(name) in sentence and "'auto'" in sentence and "\n" not in sentence


@pytest.mark.parametrize("name", ["cuda:99", "mps:7", "xpu:50"])
def test_a_device_that_does_not_exist_is_refused_before_it_is_used(name):
    with pytest.raises(DeviceError) as error:
        resolve_device(name)
    sentence = str(error.value)
    assert repr(name) in sentence and "'cpu'" in sentence and "\n" not in sentence and sentence.endswith(".")


def test_meta_is_refused():
    with pytest.raises(DeviceError) as error:
        resolve_device("meta")
    assert "'meta'" in str(error.value) and "'cpu'" in str(error.value)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_dtype_by_name(name):
    dtype = getattr(torch, name)
    assert resolve_dtype(name) == resolve_dtype(f"torch.{name}") == resolve_dtype(dtype) == dtype


@pytest.mark.parametrize("name", ["half", "int8", torch.float64, "auto", 16, None])
def test_other_dtypes_are_answered_with_the_known_ones(name):
    with pytest.raises(DeviceError) as error:
        resolve_dtype(name)
    sentence = str(error.value)
    assert str(name) in sentence and "float32, bfloat16, float16" in sentence and "\n" not in sentence


def test_half_precision_becomes_float32_and_the_rest_stays():
    for dtype in (torch.bfloat16, torch.float16):
        assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == torch.float32
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(2, dtype=dtype)
        assert at_least_float32(x) is x


def test_training_uses_an_arithmetic_that_the_device_has():
    dtype = training_dtype(CPU)
    assert dtype in (torch.float32, torch.bfloat16)
    conv = torch.nn.Conv2d(3, 4, 3).to(dtype)
    assert conv(torch.rand(1, 3, 8, 8, dtype=dtype)).dtype == dtype
    assert training_dtype(torch.device("mps")) == torch.float32


def test_a_lack_of_memory_is_one_sentence():
    for failure in (lambda: torch.empty(1 << 60), lambda: (_ for _ in ()).throw(MemoryError())):
        with pytest.raises(DeviceError) as error, memory_errors("a test", CPU, "a smaller size"):
            next(failure())
        sentence = str(error.value)
        assert all(part in sentence for part in ("cpu", "a test", "a smaller size"))
        assert "\n" not in sentence and "device=" not in sentence
    with pytest.raises(DeviceError) as error, memory_errors("a test", torch.device("cuda"), "a smaller size"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "cuda" in str(error.value) and "device='cpu'" in str(error.value)


def test_other_failures_stay_what_they_are():
    for failure in (RuntimeError("a bug"), NotImplementedError("abstract"), ValueError("x")):
        with pytest.raises(type(failure)) as error, memory_errors("a test", CPU, "a smaller size"):
            raise failure
        assert error.value is failure


def test_an_operation_that_an_accelerator_lacks_is_one_sentence():
    with pytest.raises(DeviceError) as error, memory_errors("a test", torch.device("mps"), "a smaller size"):
        raise NotImplementedError("no linalg.\nSee the tracker.")
    sentence = str(error.value)
    assert all(part in sentence for part in ("mps", "no linalg", "device='cpu'")) and "\n" not in sentence
    assert sentence.startswith("A test")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_is_resolved_with_its_index():
    assert resolve_device("cuda") == torch.device("cuda", torch.cuda.current_device()) == torch.empty(1).cuda().device
    assert training_dtype(torch.device("cuda")) in (torch.float32, torch.bfloat16)


def test_freed_memory_is_kept_for_the_next_tensor():
    code = """
import os, sys, torch
from metastyle_hub.devices import keep_freed_memory
set_ = sys.argv[1] == "keep" and keep_freed_memory()
assert set_ or sys.argv[1] == "leave"
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
    for mode, kept in (("leave", False), ("keep", True)):
        done = tiny.python("-c", code, mode)
        assert done.returncode == 0, done.stderr
        before, there, after = map(int, done.stdout.split())
        assert there - before > 200
        assert (after - before > 200) == kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")
def test_a_process_forked_after_use_stylizes_the_same():
    code = """
import os, signal, numpy, torch
signal.alarm(100)
from metastyle_hub import MetaStyle
torch.set_num_threads(2)
base, photo = MetaStyle.from_pretrained(), numpy.random.default_rng(0).integers(0, 256, (96, 96, 3), numpy.uint8)

def stylized(): return numpy.asarray(base.stylize(photo)).astype(int)
here = stylized()
if (pid := os.fork()) == 0:
    signal.alarm(60)
    os._exit(int(abs(stylized() - here).max() > 1))  # sums in another order
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), torch.get_num_threads())
"""
    done = tiny.python("-W", "ignore", "-c", code, OMP_NUM_THREADS="2")
    assert done.stdout.split() == ["0", "2"], done.stderr
