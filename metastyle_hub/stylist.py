"""Parameters that paint: photos, batches and films."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack, overload

from PIL import Image
from torch import Tensor

from metastyle_hub.errors import SettingError
from metastyle_hub.painting import paint, paint_each
from metastyle_hub.parameter_sets import ParameterSet
from metastyle_hub.video.painting import VideoConfig, VideoStep, paint_video

__all__ = ["Stylist"]


class _How(TypedDict, total=False):
    strength: float
    size: int | None
    keep_photo_colors: bool


class Stylist(ParameterSet):
    """A base or style that puts pictures into its style; see `MetaStyle`."""

    @overload
    def stylize(self, photo: Tensor, *, styles: Sequence[Self] | None = None, **how: Unpack[_How]) -> Tensor: ...
    @overload
    def stylize(self, photo: Image.Image | str | os.PathLike[str], **how: Unpack[_How]) -> Image.Image: ...
    @overload
    def stylize(self, photo: list[Any], *, styles: Sequence[Self] | None = None, **how: Unpack[_How]) -> list[Any]: ...
    def stylize(
        self,
        photo: Any,
        *,
        strength: float = 1.0,
        size: int | None = None,
        keep_photo_colors: bool = False,
        styles: Sequence[Self] | None = None,
    ) -> Any:
        """The photo in this style, upright and of the photo's size.

        Args:
            photo: a PIL image, a path or an array gives a PIL image (alpha is kept); a list gives a list;
                a float tensor (3, H, W) or (B, 3, H, W) in [0, 1] gives such a tensor.
            strength: 1 is the style, 0 the base, which returns usual photos nearly as they are. Those of low contrast
                or of one colour it changes more, as instance norms stretch them: a photo with a tenth of its
                contrast comes back with 16 to 19 dB.
            size: pixels of the result's short side; None keeps the photo's. Smaller gives broader strokes.
            keep_photo_colors: take only the lightness from the style, the colours from the photo.
            styles: for a list or a batch, one style of this base for each photo, instead of this one for all. Photos
                of one size whose styles share all but norms and decoder go through the network together, in one pass.

        Raises:
            ImageError: a picture that cannot be used.
            SettingError: strength outside [0, 1], a size below 1, or styles that do not fit.
            DeviceError: the memory of the device does not suffice.

        >>> style.stylize("photo.jpg", strength=0.6).save("out.png")
        >>> first, second = base.stylize(["a.jpg", "b.jpg"], styles=[wave, glass])
        """
        if styles is not None:
            return self._stylize_each(photo, styles, strength, size, keep_photo_colors)
        if isinstance(photo, list | tuple):
            return [self.stylize(p, strength=strength, size=size, keep_photo_colors=keep_photo_colors) for p in photo]
        return paint(self._network, self._at(strength), photo, size=size, keep_photo_colors=keep_photo_colors)

    def stylize_video(self, source: str | os.PathLike[str], target: str | os.PathLike[str], **how: Any) -> Path:
        """A film or an animation in this style, as a file. See `stylize_video_iter` for the arguments.

        >>> style.stylize_video("walk.mp4", "painted.mp4", size=360)
        """
        for _ in self.stylize_video_iter(source, target, **how):
            pass
        return Path(target)

    def stylize_video_iter(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        strength: float = 1.0,
        size: int | None = None,
        keep_photo_colors: bool = False,
        frames: int | None = None,
        config: VideoConfig | None = None,
    ) -> Iterator[VideoStep]:
        """Paint a film frame by frame, and hold what stands still. Stop whenever you like: what is painted is kept.

        Args:
            source: a film (with the extra `video`), or an animated .gif, .webp or .png.
            target: .mp4, .m4v, .mov or .mkv, with the sound of the film; or .gif, .webp, .png.
            strength, keep_photo_colors: see `stylize`.
            size: pixels of the short side; None keeps the film's.
            frames: how many at most.
            config: how still places are held, and how the film is compressed.

        Raises:
            VideoError: a film that cannot be read or written.
            SettingError: strength outside [0, 1], a size or number of frames below 1.
            DeviceError: while iterating, the memory of the device does not suffice.

        >>> for step in style.stylize_video_iter("walk.mp4", "painted.mp4"):
        ...     print(step.index, step.count)
        """
        parameters = self._at(strength)

        def one(picture: Tensor) -> Tensor:
            return paint(self._network, parameters, picture, keep_photo_colors=keep_photo_colors)

        return paint_video(one, source, target, config, size=size, frames=frames)

    def _stylize_each(
        self, photos: Any, styles: Sequence[Self], strength: float, size: int | None, keep_photo_colors: bool
    ) -> Any:
        if other := next((s for s in styles if s.base.fingerprint != self.base.fingerprint), None):
            raise SettingError(f"{other.name} is no style of this base; stylize with it by itself.")
        own = {id(s): s.to(self.device)._at(strength) for s in styles}
        chosen = [own[id(s)] for s in styles]
        return paint_each(self._network, chosen, photos, size=size, keep_photo_colors=keep_photo_colors)
