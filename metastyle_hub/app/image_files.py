"""Pictures that the page shows, in files that are whole whenever a browser reads them.

Gradio names the file of a picture after its content and writes it anew each time the picture is shown, into the very
file that the browser may be reading: a photo beside its versions while a slider is dragged arrives cut off. Here it
is written once, aside, and renamed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gradio as gr
from gradio.processing_utils import encode_pil_to_bytes, hash_bytes
from PIL import Image

__all__ = ["ShownImage", "ShownPair", "whole"]


def whole(picture: Any, cache: str, format: str) -> Any:
    """The file of a PIL image in Gradio's cache, which no later call touches; anything else as it is."""
    if not isinstance(picture, Image.Image):
        return picture
    data = encode_pil_to_bytes(picture, format)
    file = Path(cache) / hash_bytes(data) / f"picture.{format}"
    if file.exists():
        os.utime(file)  # old files are deleted by age, and this one is wanted again
        return str(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{secrets.token_hex(8)}.tmp")
    aside.write_bytes(data)
    aside.replace(file)
    return str(file)


# Gradio writes a stub file beside every module that defines a component; type checkers would read it instead of this
with patch("gradio.component_meta.create_or_modify_pyi"):

    class ShownImage(gr.Image):
        """One picture."""

        def get_block_name(self) -> str:
            return "image"  # the stock front end

        def postprocess(self, value: Any) -> Any:
            return super().postprocess(whole(value, self.GRADIO_CACHE, self.format))

    class ShownPair(gr.ImageSlider):
        """Two, with a divider between them."""

        def get_block_name(self) -> str:
            return "imageslider"

        def postprocess(self, value: Any) -> Any:
            pair = value and tuple(whole(each, self.GRADIO_CACHE, self.format) for each in value)
            return super().postprocess(pair)
