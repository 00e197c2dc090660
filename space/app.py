"""The Space: serves the Gradio app of metastyle_hub with the styles of this folder."""

from contextlib import suppress
from pathlib import Path

with suppress(ImportError):
    import spaces  # noqa: F401  # before torch, which it prepares for lent GPUs

from metastyle_hub.app import main

if __name__ == "__main__":
    main(gallery=Path(__file__).parent / "styles")
