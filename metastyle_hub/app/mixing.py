"""Everything between two styles, or four: pictures, a strip, a film, a grid, and a style to keep."""

from __future__ import annotations

from pathlib import Path

from metastyle_hub.app import html
from metastyle_hub.app import texts
from metastyle_hub.app.html import Frame
from metastyle_hub.app.uploads import Photo, plain_name, shrunk
from PIL import Image
from metastyle_hub.app.session import SMALL, Session
from metastyle_hub.app.workspace import PREVIEW, Workspace

from metastyle_hub import MetaStyle, interpolate
from metastyle_hub.images.grid import image_grid

BLENDS = 7
SWEEP_FRAMES = 13


def mix(workshop: Workspace, first: str | None, second: str | None, share: float, visit: Session) -> MetaStyle:
    """The style between two, `share` of the second."""
    return interpolate([workshop.style(first, visit), workshop.style(second, visit)], [1 - share, share])


def mixed(
    workshop: Workspace, first: str | None, second: str | None, share: float, photo: Photo, visit: Session
) -> Image.Image:
    """The photo in the style between two."""
    return workshop.stylized(mix(workshop, first, second, share, visit), photo.view())


def blends(workshop: Workspace, first: str | None, second: str | None, photo: Photo, visit: Session) -> str:
    """Seven pictures from one style to the other, as HTML."""
    view, frames = shrunk(photo.view(), SMALL + 32), []
    for i in range(BLENDS):
        share = round(i / (BLENDS - 1), 2)
        alt = texts.STRIP_ALT.format(rest=1 - share, first=first, share=share, second=second)
        picture = workshop.stylized(mix(workshop, first, second, share, visit), view)
        frames.append(Frame(picture, f"{share:.0%}", alt, share))
    return html.strip(frames, texts.STRIP_TITLE, texts.STRIP_EMPTY, "share")


def sweep(workshop: Workspace, first: str | None, second: str | None, photo: Photo, visit: Session) -> Path:
    """An animated WebP from one style to the other and back, without end."""
    view = shrunk(photo.view(), PREVIEW)
    shares = [i / (SWEEP_FRAMES - 1) for i in range(SWEEP_FRAMES)]
    frames = [workshop.stylized(mix(workshop, first, second, share, visit), view) for share in shares]
    frames += frames[-2:0:-1]
    path = workshop.new_file(f"from {first} to {second}", ".webp")
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=110, loop=0, quality=80)
    return path


def grid(workshop: Workspace, corners: list[str | None], photo: Photo, visit: Session, count: int = 4) -> Image.Image:
    """A square of blends with four styles in its corners."""
    styles = [workshop.style(name, visit) for name in corners]
    view, rows = shrunk(photo.view(), SMALL), []
    for y in range(count):
        row = []
        for x in range(count):
            u, v = x / (count - 1), y / (count - 1)
            weights = [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v]
            row.append(workshop.stylized(interpolate(styles, weights), view))
        rows.append(row)
    return image_grid(rows, tile=SMALL)


def keep_mix(workshop: Workspace, first: str | None, second: str | None, share: float, visit: Session) -> str:
    """Keep the mix as a style of this visit; returns its name."""
    kept = mix(workshop, first, second, share, visit)
    return visit.keep(plain_name(kept.name), kept, workshop.gallery)
