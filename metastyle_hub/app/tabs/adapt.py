"""The part of the first tab that adapts to a style image, while the visitor watches."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.app import html, texts
from metastyle_hub.app.components import PRIVATE, WORK, Parts, Updates, busy, check_given, done, friendly, waiting
from metastyle_hub.app.session import MAX_STEPS, Job, StepEvent, strip_steps
from metastyle_hub.app.studio import Look, Studio

__all__ = ["adapt_parts", "connect_adapt"]

_STATUS_SECONDS = 0.4  # between updates of the status, which cost time
_MAX_WAITING = 20  # adaptations; the next is refused


def adapt_parts(studio: Studio, parts: Parts) -> None:
    """Lay out the controls of an adaptation."""
    default = AdaptationConfig()
    with gr.Column(elem_id="adapt"):
        parts.go = gr.Button(texts.GO, variant="primary", size="lg", elem_id="go", elem_classes="go")
        # computed whenever the page is opened: the machine is measured meanwhile
        parts.estimate = gr.Markdown(lambda: _estimate(studio, default.steps, default.trainable), elem_id="estimate")
        parts.steps = gr.Slider(
            1, MAX_STEPS, default.steps, step=1, label=texts.STEPS, info=texts.STEPS_INFO, elem_id="steps", buttons=[]
        )
        with gr.Accordion(texts.MORE, open=False, elem_id="more"):
            parts.trainable = gr.Radio(
                texts.TRAINABLE_CHOICES,
                value=default.trainable,
                label=texts.TRAINABLE,
                info=texts.TRAINABLE_INFO,
                elem_id="trainable",
            )


def connect_adapt(studio: Studio, revision: gr.State, parts: Parts) -> None:
    """Connect the events of an adaptation."""
    status, state = parts.status, parts.state
    look = [parts.strength, parts.scale, parts.preserve_color]

    @friendly(status)
    def adapt(content: Any, style: Any, steps: float, trainable: str, *look_and_session: Any) -> Updates:
        check_given(content, style, both=True)
        *look, session = look_and_session
        with studio.queue.ticket(studio.estimate(steps, trainable), most=_MAX_WAITING) as ticket:
            yield {state: session}  # so that Gradio counts its age
            yield from waiting(ticket.wait(), session, status)
            job = studio.start(content, style, steps, trainable, session)
            yield {**busy(status, texts.STARTING), parts.curve: html.curve([], job.steps)}
            updated = 0.0
            try:
                for event in studio.adapt(job, style, session):
                    ticket.update(studio.seconds_left(job))
                    if event.preview is None and time.monotonic() - updated < _STATUS_SECONDS:
                        continue
                    updated = time.monotonic()
                    text = _running_text(job, event, studio.seconds_left(job))
                    updates = {
                        **busy(status, text, share=event.index / max(1, job.steps)),
                        parts.curve: html.curve(job.curve, job.steps),
                    }
                    if event.preview is not None:
                        updates[parts.result] = (job.content, event.preview.resize(job.content.size))
                    if event.index in strip_steps(job.steps):
                        updates[parts.strip] = studio.strip(job)
                    yield updates
            except Exception:
                if job.finished:  # its last style is kept
                    yield {revision: time.monotonic()}
                raise
        if job.last is None or job.last.index == 0:
            yield done(status, _final_text(job))
            return
        index = job.last.index
        yield {
            parts.current: job.name,
            parts.step: gr.Slider(maximum=max(1, index), value=index),
            parts.step_group: gr.Column(visible=True),
            revision: time.monotonic(),
            **done(status, _final_text(job)),
        }
        for image in studio.views(job.styles[index], content, Look(*look)):
            yield {parts.result: (content.view(), image)}

    parts.go.click(
        adapt,
        [parts.content, parts.style, parts.steps, parts.trainable, *look, state],
        [parts.result, status, parts.curve, parts.strip, parts.current, parts.step, parts.step_group, revision, state],
        **WORK,
    )
    gr.on(
        [parts.steps.change, parts.trainable.change, revision.change],
        lambda steps, trainable: _estimate(studio, steps, trainable),
        [parts.steps, parts.trainable],
        parts.estimate,
        queue=False,
        **PRIVATE,
    )


def _running_text(job: Job, event: StepEvent, seconds: float | None) -> str:
    """Return the status of an adaptation at a step."""
    return texts.RUNNING.format(steps=job.steps, left=texts.left(seconds), **_losses(event))


def _estimate(studio: Studio, steps: float, trainable: str) -> str:
    seconds = studio.estimate(steps, trainable)
    if seconds is None:
        return f"{texts.ADAPT_INFO} {texts.NO_ESTIMATE}"
    return f"{texts.ADAPT_INFO} {texts.ESTIMATE.format(seconds=texts.duration(seconds), steps=int(steps))}"


def _losses(event: StepEvent) -> dict[str, Any]:
    step = event.step
    return {"index": step.index, "loss": step.loss, "content": step.content, "style": step.style}


def _final_text(job: Job) -> str:
    if job.last is None or (job.last.index == 0 and job.steps):
        return texts.STOPPED_EARLY
    if job.steps == 0:
        return texts.PREDICTED.format(name=job.name)
    if job.last.index < job.steps:
        return texts.STOPPED.format(index=job.last.index, name=job.name)
    return texts.DONE.format(name=job.name, seconds=texts.duration(job.seconds), **_losses(job.last))
