"""ComfyUI nodes of metastyle_hub (V3 schema): load or adapt a style, mix two, stylize images.

Copy this folder to `ComfyUI/custom_nodes/metastyle_hub` and `pip install metastyle-hub` in ComfyUI's environment.
ComfyUI's images are (B, H, W, 3) in [0, 1], its masks (B, H, W).
"""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import ComfyExtension, io

from metastyle_hub import AdaptationConfig, MetaStyle, interpolate

__all__ = ["AdaptStyle", "LoadStyle", "MetaStyleExtension", "MixStyles", "StylizeImages", "comfy_entrypoint"]

_CATEGORY = "image/metastyle"
_STEPS = AdaptationConfig()
Style = io.Custom("METASTYLE_STYLE")


class LoadStyle(io.ComfyNode):  # type: ignore[misc]
    """A base or style from a folder or a Hub repo; nothing is the base of the package."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the inputs and outputs."""
        return io.Schema(
            node_id="MetaStyleLoadStyle",
            display_name="Load Style (MetaStyle)",
            category=_CATEGORY,
            inputs=[io.String.Input("source", default="", tooltip="folder or Hub repo; empty: the base")],
            outputs=[Style.Output(display_name="style")],
        )

    @classmethod
    def execute(cls, source: str) -> Any:
        """Load it on the accelerator if there is one."""
        return io.NodeOutput(MetaStyle.from_pretrained(source.strip() or None, device="auto"))


class AdaptStyle(io.ComfyNode):  # type: ignore[misc]
    """A style adapted to images; with 0 steps the predicted one."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the inputs and outputs."""
        return io.Schema(
            node_id="MetaStyleAdaptStyle",
            display_name="Adapt Style (MetaStyle)",
            category=_CATEGORY,
            inputs=[
                io.Image.Input("style_images", tooltip="several images of a batch are one style"),
                io.Int.Input("steps", default=_STEPS.steps, min=0, max=1000),
                io.Int.Input("seed", default=_STEPS.seed, min=0, max=2**31 - 1),
                Style.Input("base", optional=True),
                io.Mask.Input("style_mask", optional=True, tooltip="white where the image shows the style"),
            ],
            outputs=[Style.Output(display_name="style")],
        )

    @classmethod
    def execute(
        cls,
        style_images: torch.Tensor,
        steps: int,
        seed: int,
        base: MetaStyle | None = None,
        style_mask: torch.Tensor | None = None,
    ) -> Any:
        """Adapt; ComfyUI runs nodes in inference mode, which the adaptation leaves."""
        base = base or MetaStyle.from_pretrained(device="auto")
        images = list(style_images[..., :3].permute(0, 3, 1, 2))
        masks = None if style_mask is None else [style_mask[i % len(style_mask)] for i in range(len(images))]
        if steps == 0 and masks is None:
            return io.NodeOutput(base.predict_style(images))
        return io.NodeOutput(base.adapt(images, style_mask=masks, steps=steps, seed=seed))


class MixStyles(io.ComfyNode):  # type: ignore[misc]
    """The interpolation of two styles of one base; a share outside [0, 1] extrapolates."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the inputs and outputs."""
        return io.Schema(
            node_id="MetaStyleMixStyles",
            display_name="Mix Styles (MetaStyle)",
            category=_CATEGORY,
            inputs=[
                Style.Input("first"),
                Style.Input("second"),
                io.Float.Input("share", default=0.5, min=-0.5, max=1.5, step=0.05, tooltip="of the second style"),
            ],
            outputs=[Style.Output(display_name="style")],
        )

    @classmethod
    def execute(cls, first: MetaStyle, second: MetaStyle, share: float) -> Any:
        """Mix them."""
        return io.NodeOutput(interpolate([first, second], [1 - share, share], convex=False))


class StylizeImages(io.ComfyNode):  # type: ignore[misc]
    """Images in a style."""

    @classmethod
    def define_schema(cls) -> Any:
        """Return the inputs and outputs."""
        return io.Schema(
            node_id="MetaStyleStylize",
            display_name="Stylize (MetaStyle)",
            category=_CATEGORY,
            inputs=[
                io.Image.Input("images"),
                Style.Input("style"),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.5, step=0.05),
                io.Boolean.Input("preserve_color", default=False),
                io.Mask.Input("mask", optional=True, tooltip="white where to stylize"),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        style: MetaStyle,
        strength: float,
        preserve_color: bool,
        mask: torch.Tensor | None = None,
    ) -> Any:
        """Stylize the batch; with a mask for each image, or one for all."""
        contents = images[..., :3].permute(0, 3, 1, 2)
        if mask is None:
            stylized = style.stylize(contents, strength=strength, preserve_color=preserve_color)
        else:
            parts = [
                style.stylize(content, strength=strength, preserve_color=preserve_color, mask=mask[i % len(mask)])
                for i, content in enumerate(contents)
            ]
            stylized = torch.stack(parts)
        return io.NodeOutput(stylized.permute(0, 2, 3, 1).cpu().contiguous())


class MetaStyleExtension(ComfyExtension):  # type: ignore[misc]
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[Any]:
        """Return the nodes."""
        return [LoadStyle, AdaptStyle, MixStyles, StylizeImages]


async def comfy_entrypoint() -> MetaStyleExtension:
    """Return the extension."""
    return MetaStyleExtension()
