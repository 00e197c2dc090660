"""What the app does, without the page: adapt, show, compare, keep and share, for one session at a time.

Every public method of `Studio` is one action of a visitor. The state of a visitor is a `Session`; nothing of it is
stored in the `Studio`, which all visitors share.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from PIL import Image

from metastyle_hub.adaptation import AdaptationConfig, AdaptationStep
from metastyle_hub.app import html, texts
from metastyle_hub.app.files import Downloads, ImageUpload, plain_name, shrink, unpack_style
from metastyle_hub.app.session import Job, Session, StepEvent, strip_steps
from metastyle_hub.data.examples import example
from metastyle_hub.devices import resolve_device, training_dtype
from metastyle_hub.errors import MetaStyleError, SessionError
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.param_groups import TRAINABLE, trainable_parameters

__all__ = ["EXAMPLE_STEPS", "PREVIEW_SIZE", "Adapt", "Studio"]

log = logging.getLogger(__name__)

PREVIEW_SIZE = 384  # pixels of the long side of images that are seen for a moment
EXAMPLE_STEPS = 30  # of `Studio.adapt_examples`

_EXAMPLES = ("night_swirls", "stained_glass")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]+)?", re.ASCII)
_PREVIEW_SECONDS = 0.4  # between previews
_PREVIEW_COST = 9  # times the cost of a preview: they take a tenth of the time

Adapt = Callable[[Image.Image, Image.Image | None, int, str], Generator[StepEvent, None, None]]
"""Adapts to a style: (style image, content image for previews, steps, trainable) -> an event for every step."""


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
        worker: Callable[[Adapt], Adapt] = lambda adapt: adapt,
        device: str = "auto",
    ) -> None:
        """Make a studio.

        Args:
            base: of all styles.
            config: of adaptations; steps and trainable are the visitor's choice.
            gallery: the built-in styles by name.
            worker: wraps the one function that needs the accelerator.
            device: of adaptations; everything else is fast enough on the CPU.
        """
        self.base = base
        self.config = config or AdaptationConfig()
        self.gallery: Mapping[str, MetaStyle] = {} if gallery is None else gallery
        self.device = resolve_device(device)
        self.downloads = Downloads()
        self._adapt = worker(self._adapt_here)
        # an estimate, until the first adaptation of each kind has been timed
        self._step_seconds = dict.fromkeys(TRAINABLE, 0.03 if self.device.type != "cpu" else 0.3)

    # ---- adapt

    def warm_up(self) -> None:
        """Load what the first adaptation would wait for: the content images and the feature extractor."""
        try:
            for _ in self._adapt_here(Image.new("RGB", (64, 64), "teal"), None, 0, "norm"):
                pass
        except MetaStyleError as error:
            log.warning("The warm-up failed: %s", error)

    def estimate(self, steps: float, trainable: str) -> str:
        """Return the duration of an adaptation on this machine, in words."""
        seconds = texts.duration(1 + steps * self._step_seconds.get(trainable, 0.3))
        return texts.ESTIMATE.format(seconds=seconds, steps=int(steps))

    def seconds_left(self, job: Job) -> float:
        """Return the seconds that a job still needs, by its own pace; at its start, by that of earlier jobs."""
        if job.last is None or job.last.index == 0:
            return job.steps * self._step_seconds[job.trainable]
        return (job.steps - job.last.index) * (job.seconds - job.first_seconds) / job.last.index

    def start(
        self, content: ImageUpload, style_image: ImageUpload, steps: float, trainable: str, session: Session
    ) -> Job:
        """Return a new job, which becomes the job of the session."""
        name = session.free_name(style_image.name or "style", self.gallery)
        session.job = Job(name, int(steps), trainable, content.view())
        return session.job

    def adapt(self, job: Job, style_image: ImageUpload, session: Session) -> Iterator[StepEvent]:
        """Run a job: an event for every step. However it ends, its last style is kept in the session."""
        try:
            with closing(self._adapt(style_image.load(), job.content, job.steps, job.trainable)) as events:
                for event in events:
                    # the visitor already sees the result of a stopped job, which must not change any more
                    if job.stopped:
                        return
                    job.add(event, self.base)
                    yield event
            if job.steps:
                self._step_seconds[job.trainable] = (job.seconds - job.first_seconds) / job.steps
        finally:
            self.finish(job, session)

    def finish(self, job: Job, session: Session) -> None:
        """Keep the style of a job in the session, once: at its end, or when the visitor stops it."""
        if not job.finished and job.last is not None and job.last.index > 0:
            job.finished = True
            job.name = session.add(job.name, job.styles[job.last.index], self.gallery)

    def adapt_examples(self, session: Session) -> Iterator[tuple[str, int, float]]:
        """Adapt two example styles that the session lacks: (name, step, seconds left) for every step."""
        for name in _EXAMPLES:
            style_image = ImageUpload(example(name), plain_name(name))
            if style_image.name in session.styles:
                continue
            free = session.free_name(style_image.name, self.gallery)
            job = Job(free, EXAMPLE_STEPS, self.config.trainable, Image.new("RGB", (64, 64)))
            with closing(self._adapt(style_image.load(), None, job.steps, job.trainable)) as events:
                for event in events:
                    job.add(event, self.base)
                    yield job.name, event.index, self.seconds_left(job)
            self.finish(job, session)

    def _adapt_here(
        self, style_image: Image.Image, content: Image.Image | None, steps: int, trainable: str
    ) -> Generator[StepEvent, None, None]:
        """Adapt in this process. All arguments and events can be pickled, so a worker process can run it."""
        small = shrink(content, PREVIEW_SIZE) if content is not None else None
        base, preview_dtype = self.base.to(self.device), training_dtype(self.device)
        shown = cost = 0.0
        for step in base.adapt_iter(style_image, config=self.config, steps=steps, trainable=trainable):
            model, now, preview = step.style_model, time.monotonic(), None
            due = step.index in strip_steps(steps) or now - shown > max(_PREVIEW_SECONDS, _PREVIEW_COST * cost)
            if small is not None and due:
                preview = model.to(dtype=preview_dtype).stylize(small)  # half precision takes half the time
                shown = time.monotonic()
                cost = shown - now
            own = trainable_parameters(step.parameters, model.config.trainable)
            on_cpu = {name: p.to("cpu") for name, p in own.items()}
            yield StepEvent(
                AdaptationStep(step.index, step.loss, step.content, step.style, on_cpu), model.config, preview
            )

    # ---- show the job of the session

    def at_step(
        self, step: float, strength: float, preserve_color: bool, session: Session
    ) -> tuple[Job, int, Image.Image]:
        """Return the job, the nearest step whose style is kept, and the content image in that style."""
        job = self.job(session)
        index = job.nearest_step(step)
        return job, index, job.styles[index].stylize(job.content, strength=strength, preserve_color=preserve_color)

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
        return [*session.styles, *self.gallery]

    def style(self, name: str | None, session: Session) -> MetaStyle:
        """Return a style by its name; user/repo on the Hub is downloaded, and kept in the session.

        Raises:
            SessionError: if there is no such style.
            ArtifactError: for a repo that holds no style of this base.
            HubError: if the Hub or the network fails.
        """
        if not name:
            raise SessionError(texts.CHOOSE)
        if name in session.styles:
            return session.styles[name]
        if name in self.gallery:
            return self.gallery[name]
        # a visitor must not read folders of this machine
        if not _REPO.fullmatch(name) or Path(name).exists():
            raise SessionError(texts.NO_SUCH_STYLE.format(name=plain_name(name)))
        session.styles[name] = self.base.load_style(name)
        return session.styles[name]

    def stylize_file(
        self, content: ImageUpload, style: MetaStyle, name: str, strength: float = 1.0, preserve_color: bool = False
    ) -> Path:
        """Stylize an image at its full size and write it as a file."""
        image = style.stylize(content.load(), strength=strength, preserve_color=preserve_color)
        return self.downloads.save_image(image, f"{content.name or 'image'} in {name}")

    def rename(self, name: str | None, new_name: str, session: Session) -> str:
        """Give a style of the session another name; return it as it is kept."""
        if not name or name not in session.styles:
            raise SessionError(texts.CHOOSE)
        new = plain_name(new_name)
        if not new:
            raise SessionError(texts.NO_NAME)
        if new != name and new in self.names(session):
            raise SessionError(texts.TAKEN.format(name=new))
        session.styles = {
            new if n == name else n: s.renamed(new) if n == name else s for n, s in session.styles.items()
        }
        return new

    def upload(self, path: Path, session: Session) -> str:
        """Add a style from a .zip; return the name under which it is kept."""
        with tempfile.TemporaryDirectory() as folder:
            inside = Path(folder) / (plain_name(path.stem) or "style")
            inside.mkdir()
            unpack_style(path, inside, max_bytes=8 * self.base.num_parameters() + 1_000_000)
            try:
                style = self.base.load_style(inside)
            except MetaStyleError as error:
                raise SessionError(str(error).replace(str(inside), path.name)) from None
        if style.is_base:
            raise SessionError(texts.NO_ZIP.format(name=path.name))
        # without its origin, a folder that no longer exists
        style = MetaStyle(style.config, style.state_dict(), self.base)
        return session.add(plain_name(style.name) or inside.name, style, self.gallery)

    def push(
        self, name: str | None, repo: str, private: bool, preview: ImageUpload | None, user: str, token: str,
        session: Session,
    ) -> tuple[str, str]:  # fmt: skip
        """Push a style to a repo of the visitor; return the repo's id and the address of the commit."""
        style = self.style(name, session)
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", repo.strip() or str(name)).strip("-.")
        if not slug:
            raise SessionError(texts.NO_NAME)
        repo_id = f"{user}/{slug}"
        content = preview.view() if preview is not None else None
        info = style.push_to_hub(repo_id, private=private, token=token, preview=content)
        return repo_id, str(info.commit_url)
