"""A film in a style, frame by frame: a stream of painted frames, and a file that is whole at its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from metastyle_hub.errors import SettingError
from metastyle_hub.geometry import resize_short_side
from metastyle_hub.settings import Settings, setting
from metastyle_hub.video.reading import Clip, Frame, Sound, VideoError, open_clip
from metastyle_hub.video.steadying import Held, steadied
from metastyle_hub.video.writing import Writer, check_target

__all__ = ["VideoConfig", "VideoStep", "paint_video"]


@dataclass(frozen=True)
class VideoConfig(Settings):
    """How a film is painted. Figures: docs/decisions.md, Films."""

    still: float = setting(
        10.0, "levels of 255 up to which a place counts as still, and its painting is held; 0: none is", low=0, high=255
    )
    hold: float = setting(0.9, "share of the painting before that stays where nothing changes", low=0, high=0.99)
    crf: int = setting(18, "quality of H.264: 0 loses nothing, 18 nothing that is seen, 28 is small", low=0, high=51)


@dataclass(frozen=True)
class VideoStep:
    """A frame that is painted."""

    index: int  # frames painted so far
    count: int | None  # of all of them, as far as the file tells
    picture: Tensor  # (1, 3, H, W) in [0, 1], as it goes into the file


def paint_video(
    paint: Callable[[Tensor], Tensor],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    config: VideoConfig | None = None,
    *,
    size: int | None = None,
    frames: int | None = None,
) -> Iterator[VideoStep]:
    """Paint a film or an animation. The file appears, whole, when the stream ends or is closed.

    Whoever stops early keeps what was painted by then. The sound goes along; only pictures are held in memory that an
    animation is made of, as it is written at once.

    Args:
        paint: (1, 3, H, W) in [0, 1] -> the same.
        source: what PyAV reads (the extra `video`), or .gif, .webp, .png.
        target: .mp4, .m4v, .mov, .mkv (H.264), or .gif, .webp, .png.
        size: pixels of the short side; None keeps the film's. Odd sides lose a row or column in a film.
        frames: how many at most.

    Raises:
        VideoError: at once, where source or target cannot be; while iterating, where the film is broken.
        SettingError: a size or number of frames below 1.

    >>> for step in paint_video(style.stylize, "walk.mp4", "painted.mp4"):
    ...     print(step.index, step.count)
    """
    for name, value in (("size", size), ("frames", frames)):
        if value is not None and value < 1:
            raise SettingError(f"{name} must be at least 1, got {value}.")
    path = check_target(target)
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise VideoError(f"{path} would be written over itself; name another file.")
    return _paint(paint, open_clip(source), path, config or VideoConfig(), size, frames)


def _paint(
    paint: Callable[[Tensor], Tensor], clip: Clip, target: Path, config: VideoConfig, size: int | None, most: int | None
) -> Iterator[VideoStep]:
    writer, index = Writer(target, clip, config.crf), 0
    held: Held | None = None
    count = clip.count if most is None or clip.count is None else min(most, clip.count)
    try:
        for part in clip:
            if isinstance(part, Sound):
                writer.hear(part)
                continue
            if index == most:
                break
            picture = part.picture if size is None else resize_short_side(part.picture, size)
            held = steadied(held, picture, paint(picture), config.still / 255, config.hold)
            writer.add(Frame(held.shown, part.start, part.lasts))
            index += 1
            yield VideoStep(index, count, held.shown)
    except (GeneratorExit, KeyboardInterrupt):
        writer.finish()  # what was painted is worth having
        raise
    except BaseException:
        writer.discard()
        raise
    finally:
        clip.close()
    if not writer.finish():
        raise VideoError(f"{clip.name} holds no frames; name another film.")
