"""What a visitor has, in plain values: the run that is under way, the styles learned so far, the moments of learning.

Nothing here touches the page or the machine; `actions.Studio` works on it.
"""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass, field, replace

from metastyle_hub.app.uploads import shrunk
from PIL import Image

from metastyle_hub import MetaStyle, MetaStyleError
from metastyle_hub.artifacts.config import ArtifactConfig
from metastyle_hub.networks.param_groups import Parameters

FILM = (0, 1, 5, 20, 50, 100, 200)  # steps whose pictures are kept
MAX_STEPS = 200
KEEP = {"norm": 1, "decoder": 5, "all": MAX_STEPS}  # every how many steps a style is kept, beside those of the film
SMALL = 224  # pixels of the long side in strips
MAX_STYLES = 8  # kept in a visit: 7 MB each when the whole network was learned


class SessionError(MetaStyleError, ValueError):
    """Something that a visitor asked for and that is not to be had; the sentence is for them."""


@dataclass(frozen=True)
class StepEvent:
    """One step of an adaptation in plain values, which cross from a worker process as well."""

    index: int
    loss: float
    content: float
    style: float
    picture: Image.Image | None  # of the photo at this step, now and then
    config: ArtifactConfig
    parameters: Parameters  # the style's own, on the CPU


@dataclass
class Job:
    """One adaptation as the visitor can scrub through it."""

    name: str
    steps: int
    view: Image.Image
    started: float
    seconds: float = 0.0
    warm: float = 0.0  # seconds until step 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    film: dict[int, Image.Image] = field(default_factory=dict)
    kept: dict[int, MetaStyle] = field(default_factory=dict)
    last: StepEvent | None = None
    stopped: bool = False  # by the visitor: no further step is wanted
    finished: bool = False  # its style is among the visit's

    def add(self, moment: StepEvent, base: MetaStyle) -> None:
        """Take in a step. Kept are the newest, those of the film, and as many others as their size allows."""
        before, marks = self.last, film_marks(self.steps)
        if before is not None and before.index not in marks and before.index % KEEP[before.config.parameters]:
            self.kept.pop(before.index, None)
        config = replace(moment.config, name=self.name)
        self.kept[moment.index] = MetaStyle(config, {**base.parameters, **moment.parameters}, base)
        self.curve.append((moment.index, moment.content, moment.style))
        if moment.picture is not None and moment.index in marks:
            self.film[moment.index] = shrunk(moment.picture, SMALL)
        self.last, self.seconds = moment, time.monotonic() - self.started
        self.warm = self.warm or self.seconds

    def nearest(self, step: float) -> int:
        """The kept step next to a step."""
        return min(self.kept, key=lambda k: abs(k - step))


@dataclass
class VideoJob:
    """A film being painted. `stopped` is set by the visitor, and heeded after the frame that is under way."""

    stopped: bool = False


@dataclass
class Session:
    """What one visitor has. It lives in the session's state and dies with it."""

    styles: dict[str, MetaStyle] = field(default_factory=dict)
    pictures: dict[str, Image.Image] = field(default_factory=dict)  # of the slow classic, to compare with
    run: Job | None = None
    shooting: VideoJob | None = None  # the film that is being painted

    def keep(self, name: str, style: MetaStyle, reserved: Container[str] = ()) -> str:
        """Keep a style under this name, or under one with a number; the oldest makes room. Returns the name."""
        free = self.free(name, reserved)
        self.styles[free] = named(style, free)
        while len(self.styles) > MAX_STYLES:
            self.styles.pop(next(iter(self.styles)))
        return free

    def free(self, name: str, reserved: Container[str] = ()) -> str:
        """The name, with a number if another style has it."""
        free, number = name, 1
        while free in self.styles or free in reserved:
            number += 1
            free = f"{name} {number}"
        return free


def named(style: MetaStyle, name: str) -> MetaStyle:
    """The same style under another name."""
    return MetaStyle(replace(style.config, name=name), style.parameters, style.base, style.origin)


def film_marks(steps: int) -> tuple[int, ...]:
    """The steps of the film: the usual ones, and the last."""
    return (*(mark for mark in FILM if mark < steps), steps)
