"""What the page does, without the page: learn, look, compare, keep and share, for one visit at a time.

Every public method of `Studio` is one thing that a visitor does; what two styles make together is in `mixing.py`. What
a visitor has lives in a `Session` (`visits.py`), which the page keeps in the session's state; nothing of it is ever
stored in the `Studio`, which all visitors share.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

from metastyle_hub.app import html
from metastyle_hub.app import texts
from metastyle_hub.app.html import Frame
from metastyle_hub.app.archive import pack, unpack
from metastyle_hub.app.uploads import Photo, plain_name, shrunk
from PIL import Image
from metastyle_hub.app.session import StepEvent, Job, Session, SessionError, film_marks, named
from metastyle_hub.app.workspace import PREVIEW, Workspace

from metastyle_hub import AdaptationConfig, MetaStyle, MetaStyleError, list_styles
from metastyle_hub.devices import training_dtype
from metastyle_hub.baselines.gatys import GatysConfig, optimize_pixels
from metastyle_hub.data.examples import example
from metastyle_hub.networks.feature_extractor import load_feature_extractor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.images.io import to_pil, to_tensor
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.networks.param_groups import TRAINABLE, trainable_parameters

log = logging.getLogger(__name__)

QUICK = ("night_swirls", "stained_glass")  # the styles that a visitor without any can have learned
QUICK_STEPS = 30

Learn = Callable[[Image.Image, Image.Image | None, int, str], Generator[StepEvent, None, None]]
"""Learns a style: style picture, photo for previews, steps, parameters."""


class Studio(Workspace):
    """A workshop that learns as well; shared by all visitors, and without memory of any."""

    def __init__(
        self,
        base: MetaStyle | None = None,
        config: AdaptationConfig | None = None,
        *,
        gallery: Path | None = None,
        worker: Callable[[Learn], Learn] = lambda learn: learn,
        device: str = "auto",
    ) -> None:
        """
        Args:
            base, gallery, device: see `Workspace`.
            config: how styles are learned; steps and parameters are the visitor's choice.
            worker: wraps the one function that needs the accelerator.
        """
        super().__init__(base, gallery=gallery, device=device)
        self.config = config or AdaptationConfig()
        self._learn = worker(self._learn_here)
        # seconds a step, until the machine has shown what it can do
        self._pace = dict.fromkeys(TRAINABLE, 0.03 if self.device.type != "cpu" else 0.3)

    # ---- learning

    def warm_up(self) -> None:
        """Make ready what the first adaptation would wait for: the contents and the feature network."""
        try:
            for _ in self._learn_here(Image.new("RGB", (64, 64), "teal"), None, 0, "norm"):
                pass
        except MetaStyleError as error:
            log.warning("The warm-up failed: %s", error)

    def left(self, run: Job) -> float:
        """Seconds that a run still needs: by its own pace, or at its start by that of earlier ones."""
        if run.last is None or run.last.index == 0:
            return run.steps * self._pace["all"]
        return (run.steps - run.last.index) * (run.seconds - run.warm) / run.last.index

    def estimate(self, steps: float, parameters: str) -> str:
        """How long an adaptation takes here, in words."""
        seconds = texts.duration(1 + steps * self._pace.get(parameters, 0.3))
        return texts.ESTIMATE.format(seconds=seconds, steps=int(steps))

    def start(self, photo: Photo, style: Photo, steps: float, visit: Session) -> Job:
        """A run about to begin; it is the visit's from now on."""
        run = Job(visit.free(style.name or "style", self.gallery), int(steps), photo.view(), time.monotonic())
        visit.run = run
        return run

    def adapt(self, run: Job, style: Photo, parameters: str, visit: Session) -> Iterator[StepEvent]:
        """The steps of a run, each entered into it; whatever ends it, the last one is kept as a style."""
        try:
            with closing(self._learn(style.full(), run.view, run.steps, parameters)) as moments:
                for moment in moments:
                    # what the visitor has stopped is on show already and must not change any more
                    if run.stopped:
                        return
                    run.add(moment, self.base)
                    yield moment
            if run.steps:
                self._pace[parameters] = (run.seconds - run.warm) / run.steps
        finally:
            self.finish(run, visit)

    def finish(self, run: Job, visit: Session) -> None:
        """Keep what a run has learned; once, whoever comes first: its end, or the visitor who stopped it."""
        if not run.finished and run.last is not None and run.last.index > 0:
            run.finished = True
            run.name = visit.keep(run.name, run.kept[run.last.index], self.gallery)

    def learn_quickly(self, visit: Session) -> Iterator[tuple[str, int, float]]:
        """Two example styles for a visitor with none or one: (name, step, seconds left) for every step."""
        for name in QUICK:
            photo = Photo(example(name), plain_name(name))
            if photo.name in visit.styles:
                continue
            run = Job(visit.free(photo.name, self.gallery), QUICK_STEPS, Image.new("RGB", (64, 64)), time.monotonic())
            with closing(self._learn(photo.full(), None, QUICK_STEPS, self.config.parameters)) as moments:
                for moment in moments:
                    run.add(moment, self.base)
                    yield run.name, moment.index, self.left(run)
            visit.keep(run.name, run.kept[QUICK_STEPS], self.gallery)

    def _learn_here(
        self, picture: Image.Image, view: Image.Image | None, steps: int, parameters: str
    ) -> Generator[StepEvent, None, None]:
        """The work itself: plain values in, plain values out, so that it can run in another process."""
        photo = shrunk(view, PREVIEW) if view is not None else None
        base, glance = self.base.to(self.device), training_dtype(self.device)
        shown = cost = 0.0
        learning = base.adapt_iter(picture, config=self.config, steps=steps, parameters=parameters)
        while True:
            with self.turn():
                step = next(learning, None)
            if step is None:
                return
            model, now, shot = step.style_model, time.monotonic(), None
            # pictures may take a tenth of the time, so that watching does not make learning slow; half the digits do
            # for a glance, and take half as long
            if photo is not None and (step.index in film_marks(steps) or now - shown > max(0.4, 9 * cost)):
                shot = self.stylized(model.to(dtype=glance), photo)
                shown = time.monotonic()
                cost = shown - now
            own = trainable_parameters(model.parameters, model.config.parameters)
            own = {name: p.to("cpu") for name, p in own.items()}
            yield StepEvent(step.index, step.loss, step.content, step.style, shot, model.config, own)

    # ---- looking

    def at_step(self, step: float, strength: float, preserve_color: bool, visit: Session) -> tuple[Job, int, Image.Image]:
        """The run's photo at one of its kept steps."""
        run = self._run(visit)
        index = run.nearest(step)
        return run, index, self.stylized(run.kept[index], run.view, strength, preserve_color)

    def film(self, run: Job) -> str:
        """The film strip of a run, as far as it has come."""
        frames = [
            Frame(picture, texts.FILM_CAPTION.format(index=index), texts.FILM_ALT.format(index=index), index)
            for index, picture in sorted(run.film.items())
        ]
        return html.strip(frames, texts.FILM_TITLE, texts.FILM_EMPTY, "scrub")

    def full_size(self, photo: Photo, step: float, strength: float, preserve_color: bool, visit: Session) -> Path:
        """The photo in the run's style at a step, as large as it came, as a file."""
        run = self._run(visit)
        return self.paint(photo, run.kept[run.nearest(step)], run.name, strength, preserve_color)

    # ---- comparing

    def entries(self, visit: Session) -> list[str]:
        """All that can stand on one side of the divider."""
        steps: list[str] = []
        if visit.run is not None:
            marks = [k for k in visit.run.kept if k in film_marks(visit.run.steps) or k == max(visit.run.kept)]
            steps = [texts.AT_STEP.format(name=visit.run.name, index=k) for k in marks]
        return [texts.THE_PHOTO, *self.names(visit), *steps, *visit.pictures]

    def entry(self, name: str | None, photo: Photo, visit: Session) -> Image.Image:
        """One side of the divider: the photo itself, in a style, in a style at a step, or a finished picture."""
        view = photo.view()
        if name == texts.THE_PHOTO:
            return view
        if name in visit.pictures:
            return visit.pictures[name].resize(view.size, Image.Resampling.LANCZOS)
        return self.stylized(self._compared(name, visit), view)

    def entry_file(self, name: str | None, photo: Photo, visit: Session) -> Path:
        """One side of the divider as a file, as large as it can be had: the photo's size, or the classic's own."""
        if name == texts.THE_PHOTO or name in visit.pictures:
            picture = photo.full() if name == texts.THE_PHOTO else visit.pictures[str(name)]
            return self.saved(picture, f"{photo.name or 'photo'} {name}")
        return self.paint(photo, self._compared(name, visit), str(name))

    def _compared(self, name: str | None, visit: Session) -> MetaStyle:
        """A style, or the run's at a step, by the name that it has in the lists."""
        run = visit.run
        for index, style in list(run.kept.items()) if run is not None else ():
            assert run is not None
            if name == texts.AT_STEP.format(name=run.name, index=index):
                return style
        return self.style(name, visit)

    def classic(
        self, photo: Photo, style: Photo, iterations: float, visit: Session
    ) -> Iterator[tuple[int, float, float, Image.Image]]:
        """Gatys' optimisation on the pair: (iteration, seconds, loss, picture) now and then; the last is kept."""
        size, count = self.config.style_size, int(iterations)
        started = shown = time.monotonic()
        photo_at = resize_short_side(to_tensor(shrunk(photo.view(), round(1.5 * size))), size)
        style_at = resize_short_side(to_tensor(style.view()), self.config.style_size)
        # on the CPU: a GPU that is lent by the second is not for the slow way
        loss = PerceptualLoss(load_feature_extractor(self.config.features), self.config.weights)
        for step in optimize_pixels(loss, photo_at, style_at, GatysConfig(iterations=count)):
            now = time.monotonic()
            if step.index in (0, count) or now - shown > 1:
                shown = now
                yield step.index, now - started, step.loss, to_pil(step.images)
        visit.pictures = {texts.CLASSIC_NAME.format(index=count): to_pil(step.images)}

    # ---- keeping and sharing

    def rename(self, name: str | None, new: str, visit: Session) -> str:
        """Give a style of the visit another name; returns it."""
        if not name or name not in visit.styles:
            raise SessionError(texts.CHOOSE)
        new = plain_name(new)
        if not new:
            raise SessionError(texts.NO_NAME)
        if new != name and new in self.names(visit):
            raise SessionError(texts.TAKEN.format(name=new))
        visit.styles = {new if n == name else n: named(s, new) if n == name else s for n, s in visit.styles.items()}
        return new

    def pack(self, style: MetaStyle, name: str) -> Path:
        """A style as a .zip of the folder that `save_pretrained` writes."""
        path = self.new_file(name, ".zip")
        pack(named(style, name), path)
        return path

    def pack_step(self, step: float, visit: Session) -> Path:
        """The run's style at a step as a .zip."""
        run = self._run(visit)
        index = run.nearest(step)
        assert run.last is not None
        return self.pack(run.kept[index], run.name if index == run.last.index else f"{run.name} step {index}")

    def upload(self, path: Path, visit: Session) -> str:
        """A style from a .zip such as `pack` makes; returns the name it is kept under."""
        with tempfile.TemporaryDirectory() as folder:
            inside = Path(folder) / (plain_name(path.stem) or "style")
            inside.mkdir()
            unpack(path, inside, most=8 * sum(p.numel() for p in self.base.parameters.values()) + 1_000_000)
            try:
                style = self.base.apply(inside)
            except MetaStyleError as error:
                raise SessionError(str(error).replace(str(inside), path.name)) from None
        if style.is_base:
            raise SessionError(texts.NO_ZIP.format(name=path.name))
        # the folder is gone: a card in it cannot be merged later
        style = MetaStyle(style.config, style.parameters, self.base)
        return visit.keep(plain_name(style.name) or inside.name, style, self.gallery)

    def rows(self, visit: Session) -> list[tuple[str, str, object]]:
        """The visit's styles as a table: name, kind, steps."""
        return [
            (name, texts.KIND[s.config.parameters], s.config.steps if s.config.steps is not None else texts.MIXTURE)
            for name, s in visit.styles.items()
        ]

    def on_the_hub(self, search: str, limit: int = 24) -> str:
        """Styles of this base that people shared, as HTML."""
        return html.hub_cards(list_styles(search.strip() or None, base=self.base.fingerprint, limit=limit))

    def push(
        self, name: str | None, repo: str, private: bool, preview: Photo | None, user: str, token: str, visit: Session
    ) -> tuple[str, str]:
        """Share a style as a repo of the visitor; returns the repo's id and the address of the commit."""
        style = self.style(name, visit)
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", repo.strip() or str(name)).strip("-.")
        if not slug:
            raise SessionError(texts.NO_NAME)
        repo_id = f"{user}/{slug}"
        shown = preview.view() if preview is not None else None
        with self.turn() if shown is not None else nullcontext():
            info = style.push_to_hub(repo_id, private=private, token=token, preview=shown)
        return repo_id, str(info.commit_url)

    def _run(self, visit: Session) -> Job:
        if visit.run is None or not visit.run.kept:
            raise SessionError(texts.NO_RUN)
        return visit.run
