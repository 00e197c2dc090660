"""A visitor's film in a style: frame after frame, with what was painted so far kept when they stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from metastyle_hub.app import texts
from metastyle_hub.app.uploads import plain_name
from torch import Tensor
from metastyle_hub.app.session import VideoJob, Session, SessionError
from metastyle_hub.app.workspace import Workspace

from metastyle_hub import ImageError, MetaStyle, VideoError
from metastyle_hub.images.io import to_pil
from metastyle_hub.video.stylize import stylize_video

__all__ = ["MOST_FRAMES", "SIZES", "shoot"]

SIZES = (180, 240, 360, 480)  # pixels of the short side; a frame of 360 takes two cores a third of a second
MOST_FRAMES = 240  # ten seconds of a usual film


def shoot(
    workshop: Workspace, film: str, style: MetaStyle, name: str, strength: float, size: int, visit: Session
) -> Iterator[tuple[int, int, float, object, Path | None]]:
    """(frame, of how many, seconds so far, picture now and then, file at the end).

    Raises:
        VideoError: a film that cannot be read; its sentence does not tell where the file lies here.
    """
    visit.shooting = shooting = VideoJob()
    source = Path(film)
    target = workshop.new_file(f"{plain_name(source.stem) or 'film'} in {name}", ".mp4")

    def paint(picture: Tensor) -> Tensor:
        with workshop.turn():
            return style.stylize(picture, strength=strength)

    started = shown = time.monotonic()
    index = count = 0
    try:
        with closing(stylize_video(paint, source, target, size=size, frames=MOST_FRAMES)) as steps:  # type: ignore[type-var]
            for step in steps:
                now, index, count = time.monotonic(), step.index, step.count or MOST_FRAMES
                glance = index in (1, count) or now - shown > 0.5
                shown = now if glance else shown
                yield index, count, now - started, to_pil(step.picture) if glance else None, None
                if shooting.stopped:
                    break
    except (VideoError, ImageError) as error:
        raise SessionError(str(error).replace(str(source), source.name)) from None
    if index:
        yield index, count, time.monotonic() - started, None, target
    else:
        raise SessionError(texts.NO_FRAMES)
