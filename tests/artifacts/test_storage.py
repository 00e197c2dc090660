"""The files of an artifact are whole as a set, after any kill and beside other writers."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest
import tiny
from safetensors.torch import load_file, save_file

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig, BaseReference
from metastyle_hub.artifacts.serialization import Artifact, artifact_files, fingerprint, read_artifact
from metastyle_hub.artifacts.storage import check_folder, locked, read_file, write_files
from metastyle_hub.errors import ArtifactError

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")


def artifact(seed: int) -> Artifact:
    """One of several styles with the same set of tensors: exchanged weights would load without an error."""
    config = ArtifactConfig("style", tiny.NETWORK, name=f"style {seed}", base_model=BaseReference("f" * 64))
    return Artifact(config, tiny.parameters(seed))


ARTIFACTS = [artifact(seed) for seed in range(3)]
FILES = [artifact_files(a, {"README.md": f"card {i}".encode()}) for i, a in enumerate(ARTIFACTS)]
SETS = {(a.config.name, fingerprint(a.parameters)) for a in ARTIFACTS}


def loaded(folder: Path) -> tuple[str | None, str]:
    read = read_artifact(folder)
    return read.config.name, read.fingerprint


def write_forever(folder: Path, seed: int) -> int:
    """Start a process that saves one style after another until it is killed; return when it has saved one."""
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        return pid
    try:
        order = random.Random(seed)
        while True:
            write_files(folder, order.choice(FILES))
            os.write(writer, b".")
    finally:
        os._exit(1)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


@needs_fork
def test_a_kill_at_any_moment_leaves_one_whole_set(tmp_path):
    write_files(tmp_path, FILES[0])
    delays, unfinished = random.Random(1), 0
    for seed in range(40):
        pid = write_forever(tmp_path, seed)
        time.sleep(delays.uniform(0, 0.02))
        kill(pid)
        unfinished += sorted(path.name for path in tmp_path.iterdir()) != sorted(FILES[0])
        name, number = loaded(tmp_path)
        assert (name, number) in SETS
        assert read_file(tmp_path, "README.md") == f"card {name[-1]}".encode()
    assert unfinished, "no kill came in the middle of a save"
    write_files(tmp_path, FILES[1])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES[1], "nothing is left behind"


@needs_fork
def test_a_reader_beside_two_writers_never_sees_two_sets(tmp_path):
    write_files(tmp_path, FILES[0])
    writers = [write_forever(tmp_path, seed) for seed in range(2)]
    try:
        assert {loaded(tmp_path) for _ in range(60)} <= SETS
    finally:
        for pid in writers:
            kill(pid)
    assert loaded(tmp_path) in SETS


def test_weights_of_another_save_are_refused(tmp_path):
    write_files(tmp_path, FILES[0])
    (tmp_path / WEIGHTS_FILE).write_bytes(FILES[1][WEIGHTS_FILE])
    with pytest.raises(ArtifactError) as error:
        read_artifact(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_one_changed_bit_is_noticed(tmp_path):
    write_files(tmp_path, FILES[0])
    data = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    data[-2] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(ArtifactError):
        read_artifact(tmp_path)


def test_without_a_hash_the_weights_are_taken_as_they_are(tmp_path):
    write_files(tmp_path, FILES[0])
    values = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert values.pop("weights_sha256")
    (tmp_path / CONFIG_FILE).write_text(json.dumps(values))
    save_file(load_file(tmp_path / WEIGHTS_FILE), tmp_path / WEIGHTS_FILE)
    assert loaded(tmp_path) in SETS


def test_the_hash_is_that_of_the_file_and_of_no_object(tmp_path):
    write_files(tmp_path, FILES[0])
    assert read_artifact(tmp_path).config == ARTIFACTS[0].config


def test_obsolete_files_go_and_others_stay(tmp_path):
    write_files(tmp_path, {**FILES[0], "preview.jpg": b"old"})
    (tmp_path / "notes.txt").write_text("mine")
    write_files(tmp_path, FILES[1], {"preview.jpg", "style.jpg"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*FILES[1], "notes.txt"])


def test_a_lock_is_free_after_the_block_even_if_it_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path) as held, locked(tmp_path / "none") as other:
        assert held or os.name == "nt"
        assert not other


def test_a_write_protected_file_is_refused_and_keeps_its_content(tmp_path):
    write_files(tmp_path, FILES[0])
    (tmp_path / WEIGHTS_FILE).chmod(0o444)
    with pytest.raises(ArtifactError) as error:
        write_files(tmp_path, FILES[1])
    assert WEIGHTS_FILE in str(error.value)
    assert loaded(tmp_path) == loaded(write_files(tmp_path / "b", FILES[0]))


def test_a_disk_without_space_is_noticed_before_the_work(tmp_path):
    resource = pytest.importorskip("resource")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # which fails where a full disk does
    try:
        check_folder(tmp_path, size=500_000)
        with pytest.raises(ArtifactError) as error:
            check_folder(tmp_path, size=2_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert isinstance(error.value.__cause__, OSError) and error.value.__cause__.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tempfile.mkdtemp(dir=tmp_path))
    folder = write_files("~/styles/starry", FILES[0])
    assert folder == tmp_path / "styles" / "starry"
    assert loaded(Path("~/styles/starry")) in SETS
    assert list(Path().iterdir()) == []
