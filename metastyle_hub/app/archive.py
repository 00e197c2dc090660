"""Styles as .zip files: the folder that `save_pretrained` writes, packed for a download and back from an upload."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from metastyle_hub.app import texts
from metastyle_hub.app.session import SessionError

from metastyle_hub import MetaStyle, MetaStyleError
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE


def pack(style: MetaStyle, path: Path) -> None:
    """Write a style as a .zip with one folder in it, which is called like the .zip."""
    with tempfile.TemporaryDirectory() as folder:
        saved = style.save_pretrained(Path(folder) / path.stem)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member in sorted(saved.iterdir()):
                file.write(member, f"{path.stem}/{member.name}")


def unpack(path: Path, folder: Path, most: int) -> None:
    """Extract the two files that make a style, whatever else is in the archive and however its paths are called.

    Args:
        most: bytes that one of them may have.

    Raises:
        SessionError: a broken archive, one without a style, or one with too large a file.
    """
    try:
        with zipfile.ZipFile(path) as file:
            for wanted in (CONFIG_FILE, WEIGHTS_FILE):
                member = next((m for m in file.infolist() if Path(m.filename).name == wanted), None)
                if member is None:
                    raise SessionError(texts.NO_ZIP.format(name=path.name))
                with file.open(member) as source:
                    # the size that an archive states may be a lie; what is read is not
                    data = source.read(most + 1)
                if len(data) > most or member.file_size > most:
                    size = max(len(data), member.file_size) / 1e6
                    raise SessionError(texts.BIG_ZIP.format(name=path.name, size=size, most=most / 1e6))
                (folder / wanted).write_bytes(data)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        if isinstance(error, MetaStyleError):
            raise
        raise SessionError(texts.NO_ZIP.format(name=path.name)) from None
