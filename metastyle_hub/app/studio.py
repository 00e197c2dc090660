"""What the app does, without the page: adapt, show, compare, keep and share, for one session at a time.

Every public method of `Studio` is one action of a visitor. The state of a visitor is a `Session`; nothing of it is
stored in the `Studio`, which all visitors share.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from PIL import Image

from metastyle_hub.adaptation import AdaptationConfig, AdaptationStep
from metastyle_hub.app import html, texts
from metastyle_hub.app.files import MAX_PIXELS, Downloads, ImageUpload, plain_name, shrink, unpack_style
from metastyle_hub.app.queue import WorkQueue
from metastyle_hub.app.session import Job, Session, StepEvent, strip_steps, style_bytes
from metastyle_hub.data.examples import example
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.errors import ArtifactError, HubError, ImageError, MetaStyleError, SessionError
from metastyle_hub.hub.search import HubStyle, list_styles
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.param_groups import trainable_parameters

__all__ = ["EXAMPLE_STEPS", "PREVIEW_SIZE", "Adapt", "Look", "Studio", "stylize_scaled"]

log = logging.getLogger(__name__)

PREVIEW_SIZE = 384  # pixels of the long side of images that are seen for a moment
EXAMPLE_STEPS = 30  # of `Studio.adapt_examples`

_EXAMPLES = ("night_swirls", "stained_glass")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]+)?", re.ASCII)
_PREVIEW_SECONDS = 0.4  # between previews
_PREVIEW_COST = 9  # times the cost of a preview: they take a tenth of the time
_SLOW_SECONDS = 0.8  # from here on, a coarse image is shown before the one that was asked for
_THUMBNAIL_CONTENT = "temple"
_THUMBNAIL = 112  # pixels of the long side of a style in a list
_WARM_UP_STEPS = 3
_FULL_SIZE, _MAX_STROKE_SCALE = 512, 16.0  # see `MetaStyle.stylize`
_PRIOR_STEPS = 5  # that the pace of earlier jobs counts for

StyleImages: TypeAlias = Image.Image | Sequence[Image.Image]
Adapt: TypeAlias = Callable[[StyleImages, Image.Image | None, int, str], Generator[StepEvent, None, None]]
"""Adapts: (style image or images, content image for previews, steps, trainable) -> an event for every step."""
Estimate: TypeAlias = Callable[[float, str], float | None]
"""(steps, trainable) -> the seconds of an adaptation, as measured; None before the first one."""


@dataclass(frozen=True)
class Look:
    """How a style is used."""

    strength: float = 1.0  # see `MetaStyle.stylize`
    scale: float = 1.0  # of the strokes, see `stylize_scaled`
    preserve_color: bool = False  # see `MetaStyle.stylize`


class Studio:
    """The base, the built-in styles and the machine, shared by all visitors.

    >>> studio = Studio(MetaStyle.from_pretrained(), device="cpu")
    """

    def __init__(
        self,
        base: MetaStyle,
        config: AdaptationConfig | None = None,
        *,
        gallery: Mapping[str, MetaStyle] | None = None,
        worker: Callable[[Adapt, Estimate], Adapt] = lambda adapt, estimate: adapt,
        device: str = "auto",
    ) -> None:
        """Make a studio.

        Args:
            base: of all styles.
            config: of adaptations; steps and trainable are the visitor's choice.
            gallery: the built-in styles by name.
            worker: wraps the one function that needs the accelerator; `estimate` tells for how long.
            device: of adaptations; everything else is fast enough on the CPU.
        """
        self.base = base
        self.config = config or AdaptationConfig()
        self.gallery: Mapping[str, MetaStyle] = {} if gallery is None else gallery
        self.device = resolve_device(device)
        self.downloads = Downloads()
        self.queue = WorkQueue()
        self._adapt = worker(self._adapt_here, self.estimate)
        # all measured: seconds of a gradient step by what is trained, until step 0, and of a pixel of the page's images
        self._step_seconds: dict[str, float] = {}
        self._first_seconds = self._pixel_seconds = self._file_pixel_seconds = 0.0

    # ---- adapt

    def warm_up(self) -> None:
        """Load what the first adaptation would wait for, and measure the time of a step."""
        times, trainable = [], self.config.trainable
        try:
            for _ in self._adapt_here(Image.open(example(_EXAMPLES[0])), None, _WARM_UP_STEPS, trainable):
                times.append(time.monotonic())
        except MetaStyleError as error:
            log.warning("The warm-up failed: %s", error)
        else:
            # the first step is slower than the others
            self._step_seconds.setdefault(trainable, (times[-1] - times[1]) / (len(times) - 2))

    def estimate(self, steps: float, trainable: str) -> float | None:
        """Return the seconds that an adaptation takes on this machine; None before the first was measured."""
        pace = self._pace(trainable)
        return None if pace is None else self._first_seconds + steps * pace

    def _pace(self, trainable: str) -> float | None:
        return self._step_seconds.get(trainable) or next(iter(self._step_seconds.values()), None)

    def seconds_left(self, job: Job) -> float | None:
        """Return the seconds that a job still needs, by its own pace and at its start by that of earlier jobs."""
        earlier = self._pace(job.trainable)
        # the median, as the first step and those with a preview take longer
        times = [*([earlier] * _PRIOR_STEPS if earlier else []), *job.step_seconds[-3 * _PRIOR_STEPS :]]
        remaining = job.steps - (job.last.index if job.last is not None else 0)
        return remaining * statistics.median(times) if times else None

    def start(
        self, content: ImageUpload, style_image: ImageUpload, steps: float, trainable: str, session: Session
    ) -> Job:
        """Return a new job, which becomes the job of the session.

        Raises:
            SessionError: if the session has no room for its style.
            ImageError: for a content image that cannot be used.
        """
        name = session.free_name(style_image.name or "style", self.reserved)
        size = 4 * sum(p.numel() for p in trainable_parameters(self.base.state_dict(), trainable).values())
        session.check_room(size)
        session.job = Job(name, int(steps), trainable, content.view(), reserved_bytes=size)
        return session.job

    def adapt(self, job: Job, style_image: ImageUpload, session: Session) -> Iterator[StepEvent]:
        """Run a job: an event for every step. However it ends, its last style is kept in the session."""
        try:
            with closing(self._measured(style_image.load(), job.content, job.steps, job.trainable)) as events:
                for event in events:
                    # the visitor already sees the result of a stopped job, which must not change any more
                    if job.stopped:
                        return
                    job.add(event, self.base)
                    yield event
        finally:
            self.finish(job, session)

    def finish(self, job: Job, session: Session) -> None:
        """Keep the style of a job in the session, once: at its end, or when the visitor stops it."""
        job.reserved_bytes = 0
        if not job.finished and job.last is not None and job.last.index > 0:
            job.finished = True
            job.name = session.keep(job.name, job.styles[job.last.index], self.reserved)
            session.drafts.pop(job.name, None)

    def adapt_alone(
        self, style_images: Sequence[ImageUpload], steps: int, trainable: str
    ) -> Generator[tuple[int, MetaStyle], None, None]:
        """Adapt to one or several images of a style, without a session: (step, style) for every step.

        Raises:
            ImageError: for an image that cannot be used.
        """
        name = style_images[0].name or "style"
        images = [image.load() for image in style_images]
        with closing(self._measured(images if len(images) > 1 else images[0], None, steps, trainable)) as events:
            for event in events:
                parameters = {**self.base.state_dict(), **event.step.parameters}
                yield event.index, MetaStyle(replace(event.config, name=name), parameters, self.base)

    def adapt_examples(self, session: Session) -> Iterator[tuple[str, int, float | None]]:
        """Adapt two example styles that the session lacks: (name, step, seconds left) for every step."""
        for name in _EXAMPLES:
            style_image = ImageUpload(example(name), plain_name(name))
            if style_image.name in session.styles:
                continue
            free = session.free_name(style_image.name, self.reserved)
            job = Job(free, EXAMPLE_STEPS, self.config.trainable, Image.new("RGB", (64, 64)))
            with closing(self._adapt(style_image.load(), None, job.steps, job.trainable)) as events:
                for event in events:
                    job.add(event, self.base)
                    yield job.name, event.index, self.seconds_left(job)
            self.finish(job, session)

    def _measured(
        self, style_image: StyleImages, content: Image.Image | None, steps: int, trainable: str
    ) -> Generator[StepEvent, None, None]:
        """Adapt, and measure the time until the first step and that of a step."""
        first: StepEvent | None = None
        with closing(self._adapt(style_image, content, steps, trainable)) as events:
            for event in events:
                first = first or event
                self._first_seconds = first.seconds
                if event.index:
                    self._step_seconds[trainable] = (event.seconds - first.seconds) / event.index
                yield event

    def _adapt_here(
        self, style_image: StyleImages, content: Image.Image | None, steps: int, trainable: str
    ) -> Generator[StepEvent, None, None]:
        """Adapt in this process. All arguments and events can be pickled, so a worker process can run it."""
        small = shrink(content, PREVIEW_SIZE) if content is not None else None
        base, preview_dtype = self.base.to(self.device), training_dtype(self.device)
        started, shown, cost = time.monotonic(), 0.0, 0.0
        for step in base.adapt_iter(style_image, config=self.config, steps=steps, trainable=trainable):
            model, now, preview = step.style_model, time.monotonic(), None
            due = step.index in strip_steps(steps) or now - shown > max(_PREVIEW_SECONDS, _PREVIEW_COST * cost)
            if small is not None and due:
                preview = model.to(dtype=preview_dtype).stylize(small)  # half precision takes half the time
                shown = time.monotonic()
                cost = shown - now
            own = trainable_parameters(step.parameters, model.config.trainable)
            on_cpu = {name: p.to("cpu") for name, p in own.items()}
            plain = AdaptationStep(step.index, step.loss, step.content, step.style, on_cpu)
            yield StepEvent(plain, model.config, preview, time.monotonic() - started)

    # ---- show

    def predict(self, style_image: ImageUpload, session: Session) -> str | None:
        """Predict the style of an image without a gradient step; return its name, or None without a predictor."""
        if self.base.predictor is None:
            return None
        name = session.free_name(style_image.name or "style", self.reserved)
        session.drafts = {name: self.base.predict_style(style_image.view()).renamed(name)}
        return name

    def views(self, style: MetaStyle, content: ImageUpload, look: Look = Look()) -> Iterator[Image.Image]:
        """Do as `view`, but on a slow machine, yield a coarse image first."""
        view = content.view()
        if view.width * view.height * self._pixel_seconds > _SLOW_SECONDS and max(view.size) > PREVIEW_SIZE:
            coarse = stylize_scaled(_quick(style), shrink(view, PREVIEW_SIZE), look)
            yield coarse.resize(view.size)
        yield self.view(style, content, look)

    def view(self, style: MetaStyle, content: ImageUpload, look: Look = Look()) -> Image.Image:
        """Stylize an image at the size of the page."""
        view, quick = content.view(), _quick(style)
        started = time.monotonic()
        image = stylize_scaled(quick, view, look)
        self._pixel_seconds = (time.monotonic() - started) / (view.width * view.height)
        return image

    def thumbnail(self, name: str, session: Session) -> Image.Image:
        """Return a small image of a style: an example image that is stylized with it."""
        if name not in session.thumbnails:
            small = shrink(Image.open(example(_THUMBNAIL_CONTENT)), _THUMBNAIL)
            session.thumbnails[name] = self.style(name, session).stylize(small)
        return session.thumbnails[name]

    def strip(self, job: Job) -> str:
        """Return the images of a job's steps so far, as HTML."""
        images = [
            html.StripImage(image, texts.STEP_CAPTION.format(index=i), texts.STEP_ALT.format(index=i), i)
            for i, image in sorted(job.thumbnails.items())
        ]
        return html.strip(images, texts.STEP_STRIP_TITLE, texts.STEP_STRIP_EMPTY, "step")

    def job(self, session: Session) -> Job:
        """Return the job of a session.

        Raises:
            SessionError: if there is none.
        """
        if session.job is None or not session.job.styles:
            raise SessionError(texts.NO_JOB)
        return session.job

    def pack_step(self, step: float, session: Session) -> Path:
        """Write the job's style at a step as a .zip."""
        job = self.job(session)
        index = job.nearest_step(step)
        last = job.last is not None and index == job.last.index
        return self.downloads.save_style(job.styles[index], job.name if last else f"{job.name} step {index}")

    # ---- styles

    def names(self, session: Session) -> list[str]:
        """Return the names of the session's styles, then those of the built-in ones."""
        return list(dict.fromkeys([*session.styles, *session.drafts, *self.gallery]))

    @property
    def reserved(self) -> set[str]:
        """The names that no style of a visitor may have."""
        return {*self.gallery, texts.CONTENT}

    def style(self, name: str | None, session: Session) -> MetaStyle:
        """Return a style by its name; user/repo on the Hub is downloaded, and kept in the session.

        Raises:
            SessionError: if there is no such style, no room for it, or the Hub fails.
        """
        if not name:
            raise SessionError(texts.CHOOSE)
        if (own := session.styles.get(name) or session.drafts.get(name)) is not None:
            return own
        style = self.load(name)
        if name not in self.gallery:
            session.check_room(style_bytes(style))
            session.styles[name] = style
        return style

    def load(self, name: str) -> MetaStyle:
        """Return a built-in style by its name, or one on the Hub by user/repo; nothing is kept.

        Raises:
            SessionError: if there is no such style, or the Hub fails.
        """
        if name in self.gallery:
            return self.gallery[name]
        # a visitor must not read folders of this machine
        if not _REPO.fullmatch(name) or Path(name).exists():
            raise SessionError(texts.NO_SUCH_STYLE.format(name=plain_name(name)))
        with _hub_words(name):
            # without a token: the repos of this machine's owner are not for visitors
            style = self.base.load_style(name, token=False)
        if style.is_base:
            raise SessionError(texts.NO_STYLE_REPO.format(name=name))
        return style

    def hub_styles(self, search: str, limit: int = 24) -> list[HubStyle]:
        """Return styles of this base on the Hub, best first.

        Raises:
            SessionError: if the Hub fails.
        """
        with _hub_words("Hub"):
            return list(list_styles(search.strip() or None, base=self.base.fingerprint, limit=limit, token=False))

    def stylize_file(
        self,
        content: ImageUpload,
        style: MetaStyle,
        name: str,
        look: Look = Look(),
        *,
        suffix: str = ".jpg",
        size: int | None = None,
    ) -> Path:
        """Stylize an image at its full size, or with a long side of at most `size` pixels, and write it as a file."""
        image = content.load() if size is None else shrink(content.load(), size)
        started = time.monotonic()
        stylized = stylize_scaled(style, image, look)
        self._file_pixel_seconds = (time.monotonic() - started) / (image.width * image.height)
        return self.downloads.save_image(stylized, f"{content.name or 'image'} in {name}", suffix)

    def stylize_all(
        self, contents: Sequence[ImageUpload], style: MetaStyle, look: Look = Look(), size: int | None = None
    ) -> Generator[int, None, Path]:
        """Stylize images and return a .zip of them; yields their number after each.

        A text file in it names images that cannot be used, and those that were shrunk to `MAX_PIXELS`.

        Args:
            contents: the images.
            style: their style.
            look: how the style is used.
            size: pixels of the long side, at most.

        Raises:
            SessionError: if no image can be used.
        """
        path, count = self.downloads.new_file(f"images in {style.name}", ".zip"), 0
        notes: list[str] = []
        with zipfile.ZipFile(path, "w") as file:
            for number, content in enumerate(contents, start=1):
                try:
                    written = self.stylize_file(content, style, style.name, look, size=size)
                    if size is None and (note := content.note()):
                        notes.append(note)
                    file.write(written, f"{number:03d}-{written.name}")
                    shutil.rmtree(written.parent)
                    count += 1
                except ImageError as error:
                    notes.append(str(error))
                yield number
            if notes:
                file.writestr("notes.txt", "\n".join(notes))
        if not count:
            raise SessionError(notes[0] if notes else texts.NO_CONTENT)
        return path

    def file_seconds(self, content: ImageUpload) -> float | None:
        """Return the seconds that `stylize_file` takes; None before the first was measured."""
        width, height = content.size()
        return self._file_pixel_seconds * min(MAX_PIXELS, width * height) or None

    def rename(self, name: str | None, new_name: str, session: Session) -> str:
        """Give a style of the session another name; return it as it is kept."""
        if not name or name not in session.styles:
            raise SessionError(texts.CHOOSE)
        new = plain_name(new_name)
        if not new:
            raise SessionError(texts.NO_NAME)
        if new != name and (new in session.styles or new in self.reserved):
            raise SessionError(texts.TAKEN.format(name=new))
        session.styles = {
            new if n == name else n: s.renamed(new) if n == name else s for n, s in session.styles.items()
        }
        return new

    def upload(self, path: Path, session: Session) -> str:
        """Add a style from a .zip; return the name under which it is kept.

        Raises:
            SessionError: if it holds no style of this base, or the session has no room for it.
        """
        style = self.unpack(path)
        return session.add(plain_name(style.name) or "style", style, self.reserved)

    def unpack(self, path: Path) -> MetaStyle:
        """Return the style of a .zip; nothing is kept.

        Raises:
            SessionError: if it holds no style of this base.
        """
        with tempfile.TemporaryDirectory() as folder:
            inside = Path(folder) / (plain_name(path.stem) or "style")
            inside.mkdir()
            unpack_style(path, inside, max_bytes=8 * self.base.num_parameters() + 1_000_000)
            try:
                style = self.base.load_style(inside)
            except MetaStyleError as error:
                log.info("The style %s is refused: %s", path.name, error)
                raise SessionError(texts.NO_STYLE_ZIP.format(name=path.name)) from None
        if style.is_base:
            raise SessionError(texts.NO_ZIP.format(name=path.name))
        # without its origin, a folder that no longer exists
        return MetaStyle(style.config, style.state_dict(), self.base)

    def push(
        self, name: str | None, repo: str, private: bool, preview: ImageUpload | None, user: str, token: str,
        session: Session,
    ) -> tuple[str, str]:  # fmt: skip
        """Push a style to a repo of the visitor; return the repo's id and the address of the commit."""
        style = self.style(name, session)
        slug = re.sub(r"[^A-Za-z0-9.]+|[-.]{2,}", "-", repo.strip() or str(name)).strip("-.")
        if not slug:
            raise SessionError(texts.NO_NAME)
        repo_id = f"{user}/{slug}"
        content = preview.view() if preview is not None else None
        with _hub_words(repo_id):
            info = style.push_to_hub(repo_id, private=private, token=token, preview=content)
        return repo_id, str(info.commit_url)


@contextlib.contextmanager
def _hub_words(name: str) -> Iterator[None]:
    """Turn errors of the Hub into words for a visitor, who knows no environment variables.

    They quote nothing of a repo: what a stranger wrote there must not speak from this page.
    """
    try:
        yield
    except ArtifactError as error:
        log.info("The style %s is refused: %s", name, error)
        raise SessionError(texts.NO_STYLE_REPO.format(name=name)) from None
    except HubError as error:
        log.info("The Hub failed: %s", error)
        cause = error.__cause__
        status = getattr(getattr(cause, "response", None), "status_code", 0)
        if isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError | HFValidationError):
            raise SessionError(texts.NO_REPO.format(name=name)) from None
        raise SessionError(texts.SIGN_IN_AGAIN if status in (401, 403) else texts.HUB_FAILS) from None


def _quick(style: MetaStyle) -> MetaStyle:
    """Return a style in the precision of adaptations on its device, for images of the size of the page."""
    return style.to(dtype=training_dtype(style.device))


def stylize_scaled(style: MetaStyle, image: Image.Image, look: Look) -> Image.Image:
    """Stylize an image with strokes that may be wider than usual; they look alike at any size of the image.

    Raises:
        SettingError: see `MetaStyle.stylize`.

    >>> stylize_scaled(style, image, Look(scale=2)).size == image.size
    True
    """
    usual = max(1.0, min(image.size) / _FULL_SIZE)
    wider = min(_MAX_STROKE_SCALE, usual * look.scale) if look.scale != 1 else None
    return style.stylize(image, strength=look.strength, preserve_color=look.preserve_color, stroke_scale=wider)
