"""The files of an artifact on disk, whole as a set: a kill at any moment leaves the old files or the new ones.

    1. a writer stages all files in a folder of its own, `.staged-<random>`, and flushes them to the disk
    2. it renames that folder to `.committed`: from here on a reader finds the new files, there
    3. it moves them to their places, and removes the empty folder

A writer that finds a `.committed` folder first moves its files to their places: an earlier one was killed in step 3.
Writers hold a lock on the folder. Readers need none: they compare the weights with the hash in `config.json`, and read
both again if they are of two saves.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, is_artifact_config
from metastyle_hub.config import expanded
from metastyle_hub.errors import ArtifactError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_folder", "file_names", "locked", "read_file", "write_files"]

_STAGED, _COMMITTED = ".staged-", ".committed"
_CHUNK = 1 << 20


def read_file(folder: Path, name: str) -> bytes:
    """Return the newest contents of a file of an artifact.

    Raises:
        OSError: if it does not exist or cannot be read.
    """
    try:
        return (folder / _COMMITTED / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # it is in its place, or is moved there at this moment
        return (folder / name).read_bytes()


def file_names(folder: Path) -> set[str]:
    """Return the names of everything in the folder of an artifact."""
    names = {path.name for path in folder.iterdir()}
    with contextlib.suppress(OSError):
        names |= {path.name for path in (folder / _COMMITTED).iterdir()}
    return names


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder, as one of its readers if `shared`; yield whether its file system has locks."""
    handle, held = None, False
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            handle = os.open(folder, os.O_RDONLY) if fcntl is not None else None
            if handle is not None:
                fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
                held = True
        yield held
    finally:
        if handle is not None:
            if held:  # closing would not unlock it while a process forked meanwhile has the handle too
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


def write_files(folder: str | os.PathLike[str], files: Mapping[str, bytes], obsolete: Collection[str] = ()) -> Path:
    """Write files to a folder, all or none of them, and delete obsolete ones; it must pass `check_folder`.

    Raises:
        ArtifactError: if the folder cannot be written; its files are then those that were there before.
    """
    folder = expanded(folder)
    check_folder(folder, files)
    staged = folder / f"{_STAGED}{secrets.token_hex(8)}"
    with _writing(folder), locked(folder) as alone:
        _move_committed(folder)
        for stale in folder.glob(f"{_STAGED}*") if alone else ():
            shutil.rmtree(stale, ignore_errors=True)
        try:
            staged.mkdir()
            for name, data in files.items():
                (staged / name).write_bytes(data)
                _flush(staged / name)
            _flush(staged)
            for name in obsolete:  # before: a kill may cost an old preview, but leaves none of another style
                (folder / name).unlink(missing_ok=True)
            staged.rename(folder / _COMMITTED)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        _flush(folder)
        _move_committed(folder)
    return folder


def check_folder(
    folder: str | os.PathLike[str], names: Collection[str] = (WEIGHTS_FILE, CONFIG_FILE), size: int = 0
) -> None:
    """Create a folder, and refuse it if it cannot hold files of these names and `size` bytes together.

    Raises:
        ArtifactError: if it cannot be written, lacks the space, a name has folders in it or is a folder or a
            write-protected file there, or the `config.json` of another library would be overwritten.
    """
    folder = expanded(folder)
    config = folder / CONFIG_FILE
    for name in names:
        if name in ("", "..", _COMMITTED) or Path(name).name != name or "\\" in name or "\0" in name:
            raise ArtifactError(f"{name!r} is no file name to write to {folder}; give a name without folders.")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:  # only writing a file tells whether one can be written
            for start in range(0, size, _CHUNK):
                probe.write(bytes(min(_CHUNK, size - start)))
            probe.flush()
            os.fsync(probe.fileno())
        for name in names:
            if (folder / name).is_dir():
                raise ArtifactError(f"{folder / name} is a folder where a file should go; choose another folder.")
            if (folder / name).is_file() and not (folder / name).stat().st_mode & 0o222:
                raise ArtifactError(f"{folder / name} is write-protected; choose another folder, or chmod +w it.")
        ours = CONFIG_FILE not in names or not config.is_file()
        with contextlib.suppress(ValueError, RecursionError):
            ours = ours or is_artifact_config(json.loads(config.read_bytes()))
    if not ours:
        raise ArtifactError(f"{config} belongs to another library and is not overwritten; choose another folder.")


def _move_committed(folder: Path) -> None:
    """Move the files of a committed set to their places, `config.json` last."""
    committed = folder / _COMMITTED
    if not committed.is_dir():
        return
    for file in sorted(committed.iterdir(), key=lambda path: path.name == CONFIG_FILE):
        file.replace(folder / file.name)
    _flush(folder)
    committed.rmdir()


def _flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ArtifactError(f"{folder} cannot be written: {reason}; choose another folder, or free space.") from error
