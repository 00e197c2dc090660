"""The state of one session, in plain values: its styles, its jobs, and an event for every step of an adaptation.

Nothing here knows the page or the machine; `studio.Studio` works on it.
"""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from metastyle_hub.adaptation import AdaptationStep
from metastyle_hub.app import texts
from metastyle_hub.app.files import shrink
from metastyle_hub.artifacts.config import ArtifactConfig
from metastyle_hub.errors import SessionError
from metastyle_hub.model import MetaStyle

__all__ = [
    "MAX_STEPS",
    "MAX_STYLE_BYTES",
    "THUMBNAIL_SIZE",
    "Job",
    "OptimizedImage",
    "Session",
    "StepEvent",
    "strip_steps",
    "style_bytes",
]

MAX_STEPS = 200
MAX_STYLE_BYTES = 56_000_000  # of the styles of a session: 8 whole networks, 130 decoders or 4,000 norms
THUMBNAIL_SIZE = 224  # pixels of the long side, in strips

_STRIP_STEPS = (0, 1, 5, 20, 50, 100, 200)  # the images of these steps are kept
_KEEP_EVERY = {"norm": 1, "decoder": 5, "all": MAX_STEPS}  # steps from one kept style to the next, beside the strip's


@dataclass(frozen=True)
class StepEvent:
    """One step of an adaptation, in values that can be sent from a worker process."""

    step: AdaptationStep  # its parameters are those that the style owns, on the CPU
    config: ArtifactConfig  # of the style
    preview: Image.Image | None  # the stylized content image, at some steps
    seconds: float = 0.0  # since the adaptation began, without the time in a queue

    @property
    def index(self) -> int:
        """The number of gradient steps so far."""
        return self.step.index


@dataclass
class Job:
    """One adaptation, with the styles of the steps that the visitor can go back to."""

    name: str  # of the style
    steps: int
    trainable: str
    content: Image.Image  # at the size of the page
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0  # so far
    step_seconds: list[float] = field(default_factory=list)  # of each gradient step
    curve: list[tuple[int, float, float]] = field(default_factory=list)  # step, content loss, style loss
    thumbnails: dict[int, Image.Image] = field(default_factory=dict)  # by step
    styles: dict[int, MetaStyle] = field(default_factory=dict)  # by step
    last: StepEvent | None = None
    stopped: bool = False  # set by the visitor: no further step is wanted
    finished: bool = False  # the style is in the session
    reserved_bytes: int = 0  # of the session, for the style, until the job ends

    def add(self, event: StepEvent, base: MetaStyle) -> None:
        """Add a step. Kept are the newest style, those of the strip, and as many others as their size allows."""
        previous, marks, step = self.last, strip_steps(self.steps), event.step
        if previous is not None and previous.index not in marks and previous.index % _KEEP_EVERY[self.trainable]:
            self.styles.pop(previous.index, None)
        config = replace(event.config, name=self.name)
        self.styles[step.index] = MetaStyle(config, {**base.state_dict(), **step.parameters}, base)
        self.curve.append((step.index, step.content, step.style))
        if event.preview is not None and step.index in marks:
            self.thumbnails[step.index] = shrink(event.preview, THUMBNAIL_SIZE)
        if previous is not None:
            self.step_seconds.append(event.seconds - previous.seconds)
        self.last, self.seconds = event, time.monotonic() - self.started

    def nearest_step(self, step: float) -> int:
        """Return the step nearest to `step` whose style is kept."""
        return min(self.styles, key=lambda kept: abs(kept - step))

    def style_at(self, step: float) -> MetaStyle:
        """Return the kept style nearest to a step."""
        return self.styles[self.nearest_step(step)]


@dataclass(frozen=True)
class OptimizedImage:
    """A result of pixel optimization. It is of one content image, and cannot be shown beside another."""

    content: Path
    image: Image.Image


@dataclass
class Session:
    """What one visitor has. It lives in the session state of Gradio and is deleted with it."""

    styles: dict[str, MetaStyle] = field(default_factory=dict)
    drafts: dict[str, MetaStyle] = field(default_factory=dict)  # the style predicted for the latest style image
    optimized: dict[str, OptimizedImage] = field(default_factory=dict)  # to compare with, by name
    thumbnails: dict[str, Image.Image] = field(default_factory=dict)  # of the styles, by name
    files: dict[str, tuple[MetaStyle, Path]] = field(default_factory=dict)  # of the styles, for the browser to keep
    job: Job | None = None
    stopped: bool = False  # set by the visitor: the long action that runs shall end

    @property
    def used_bytes(self) -> int:
        """The size of the styles, that of the running job included."""
        reserved = self.job.reserved_bytes if self.job is not None else 0
        return sum(style_bytes(style) for style in self.styles.values()) + reserved

    def check_room(self, size: int) -> None:
        """Refuse a style of so many bytes if it exceeds `MAX_STYLE_BYTES`.

        Raises:
            SessionError: with the sizes.
        """
        if self.used_bytes + size > MAX_STYLE_BYTES:
            used, most = self.used_bytes / 1e6, MAX_STYLE_BYTES / 1e6
            raise SessionError(texts.FULL.format(count=len(self.styles), used=used, most=most, size=size / 1e6))

    def add(self, name: str, style: MetaStyle, reserved: Container[str] = ()) -> str:
        """Keep a style under a free name, and return the name.

        Raises:
            SessionError: if there is no room; see `check_room`.
        """
        self.check_room(style_bytes(style))
        return self.keep(name, style, reserved)

    def keep(self, name: str, style: MetaStyle, reserved: Container[str] = ()) -> str:
        """Do as `add`, but without a check of the room, which a job has reserved."""
        free = self.free_name(name, reserved)
        self.styles[free] = style.renamed(free)
        return free

    def remove(self, name: str | None) -> None:
        """Delete a style.

        Raises:
            SessionError: if there is none of this name.
        """
        if name is None or name not in self.styles:
            raise SessionError(texts.CHOOSE)
        for kept in (self.styles, self.files, self.thumbnails):
            kept.pop(name, None)

    def stop(self) -> None:
        """End the long action that runs, as soon as it can."""
        self.stopped = True
        if self.job is not None:
            self.job.stopped = True

    def free_name(self, name: str, reserved: Container[str] = ()) -> str:
        """Return the name, if need be with "my" before it, or a number after it.

        >>> Session().free_name("wave", reserved=["wave"])
        'my wave'
        """
        name = f"my {name}" if name in reserved else name
        free, number = name, 1
        while free in self.styles or free in reserved:
            number += 1
            free = f"{name} {number}"
        return free


def style_bytes(style: MetaStyle) -> int:
    """Return the size of the parameters that a style does not share with its base."""
    return 4 * style.num_parameters(only_own=True)


def strip_steps(steps: int) -> tuple[int, ...]:
    """Return the steps that the strip of an adaptation shows: the usual ones, and the last.

    >>> strip_steps(12)
    (0, 1, 5, 12)
    """
    return (*(mark for mark in _STRIP_STEPS if mark < steps), steps)
