"""Long inner loops at the price of short ones: first-order meta-training with rolling trajectories.

The problem of `bilevel` unrolls T = 1 to 5 inner steps; a user takes a hundred. Unrolling a hundred is
out of reach, but walking them is not. A number of slots each hold one style, its Gram matrices, and what adaptation
moves: scales and shifts phi, and delta, what it adds to convolutions psi, somewhere between 0 and `trajectory` inner
steps away from theta. Every outer step takes some slots on by one step of Adam, as adaptation does, and lets the
convolutions learn, first order, from where they are:

    phi_s, delta_s  <- Adam step on log loss(c, s, M(c; psi + delta_s, phi_s)) + the penalties on logits and spikes
    psi             <- step of the outer optimiser on the mean over slots         shared
    theta           =  (psi, phi_0),  phi_0 held by identity(c, M(c; psi, phi_0)) where every trajectory starts

A slot that has reached the end of its trajectory starts anew from theta with another style. So theta is trained for
where adaptation passes and arrives, not for its first step.

The first step is the predictor's (`prediction.py`). With `predicted` > 0, every outer step also takes so many further
styles, of which nothing is known but their Gram matrices, and learns from the pictures of the scales and shifts that
P guesses for them; slots start anew from such guesses:

    P, psi          <- step on the mean over styles of log loss(c, s, M(c; psi, phi_0 + P(s))) + the same penalties
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data import CropConfig, check_scales, next_readable, random_crop, random_crops
from metastyle_hub.errors import SettingError
from metastyle_hub.loss import SCALES
from metastyle_hub.meta_training.bilevel import MetaTrainingConfig, restraint
from metastyle_hub.meta_training.trainer import MetaStep, MetaTrainer
from metastyle_hub.network import transform_traced
from metastyle_hub.noise import random_corner
from metastyle_hub.parameters import MOVES, Parameters, is_norm_parameter, moving_parameters
from metastyle_hub.prediction import StylePredictor, gram_channels
from metastyle_hub.settings import setting

__all__ = ["RollingConfig", "RollingTrainer"]

_USE = AdaptationConfig()  # slots walk as users will
_BETAS, _EPS = (0.9, 0.99), 1e-8  # of the slots' Adam: short memory, as a trajectory is short
_LOOKS = 64  # styles by which a new predictor's input is standardised


@dataclass(frozen=True)
class RollingConfig(MetaTrainingConfig):
    """Settings of rolling trajectories. `styles` is how many slots advance in an outer step, one content each."""

    predicted: int = setting(4, "further styles a step, from which the predictor learns; 0 for a base without", low=0)
    predictor_learning_rate: float = setting(1e-3, "peak rate of Adam on the predictor", low=0)
    guess_weight: float = setting(0.02, "of the mean square of guesses, so that they do not drift away", low=0)
    slots: int = setting(16, "styles under way at any moment, a multiple of `styles`", low=1)
    trajectory: int = setting(_USE.steps, "inner steps of a slot before it takes another style", low=1, high=1000)
    slot_parameters: str = setting(_USE.parameters, "what a slot moves, as in adaptation", choices=MOVES)
    slot_learning_rate: float = setting(_USE.learning_rate, "of Adam on what a slot adds to convolutions", low=0)
    slot_rise_steps: int = setting(_USE.rise_steps, "a slot's first steps, over which that rate rises from 0", low=0)
    slot_rate: float = setting(_USE.norm_learning_rate, "of Adam on a slot's scales and shifts", low=0)
    slot_final_rate: float = setting(
        _USE.final_rate, "the share of both rates at the end of a trajectory, along a cosine", low=0, high=1
    )
    style_size: int = setting(256, "pixels of the styles' crops, which give the Gram matrices", low=32)
    min_scale: float = setting(0.4, "least share of a photo's short side that a content crop spans", low=0.01, high=1)
    max_scale: float = setting(
        1.0, "largest; size / max_scale is the size of use that it prepares for", low=0.01, high=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slots % self.styles:
            raise SettingError(f"slots must be a multiple of styles ({self.styles}), got {self.slots}.")
        check_scales(self.min_scale, self.max_scale)

    def walk(self) -> AdaptationConfig:
        """The adaptation that a slot goes through, as far as its steps go."""
        return AdaptationConfig(steps=self.trajectory, final_rate=self.slot_final_rate, rise_steps=self.slot_rise_steps)


@dataclass(frozen=True)
class RollingBatch:
    """The data of one outer step."""

    contents: Tensor  # (styles + predicted + 1, 3, H, W): slots that advance, predicted styles, and the identity's
    rows: tuple[int, ...]  # the slots that advance
    corner: tuple[int, int]  # of all contents in the field of noise
    fresh: dict[int, Tensor]  # new styles (1, 3, H, W) of the slots that start anew
    unseen: Tensor | None  # (predicted, 3, H, W), styles for the predictor


class RollingTrainer(MetaTrainer):
    """The loop, resumable like `MetaTrainer`'s, with the slots in its state. One process alone: slots are not shared.

    >>> for step in RollingTrainer(RollingConfig(steps=4000), features, photos, artworks).run():
    ...     print(step.index, step.valid)
    """

    config: RollingConfig

    def _start(self) -> None:
        """Every slot at theta, and without a style until its first turn.

        Raises:
            SettingError: started on several processes, whose slots a checkpoint of one would lose.
        """
        if (processes := self.accelerator.num_processes) > 1:
            raise SettingError(f"Rolling training runs on one process, not on {processes}; leave out the launcher.")
        slots, moved = self.config.slots, moving_parameters(self.theta, self.config.slot_parameters)
        self._slots: dict[str, dict[str, Tensor]] = {
            kind: {name: torch.zeros(slots, *p.shape, device=self.device) for name, p in moved.items()}
            for kind in ("own", "mean", "square")
        }
        self._ages: list[int] = [0] * slots
        self._grams: dict[int, tuple[Tensor, ...]] = {}
        if self.config.predicted:
            self.predictor = self._first_predictor()
            group = {"params": list(self.predictor.parameters()), "peak": self.config.predictor_learning_rate}
            self.optimizers.append(torch.optim.Adam([group], betas=_BETAS))
            self.average_predictor = {name: p.detach().clone() for name, p in self.predictor.state_dict().items()}

    def _first_predictor(self) -> StylePredictor:
        """The initial base's, or a new one that has seen what styles look like."""
        torch.manual_seed(self.config.seed)
        predictor = StylePredictor(gram_channels(self.loss.features.spec), self.theta).to(self.device)
        known = self.init and self.init.predictor
        if self.init is not None and known and self.init.config.features == self.loss.features.name:
            predictor.load_state_dict(known)
            return predictor
        rng, c = np.random.default_rng(self.config.seed), self.config
        looks = random_crops(self.styles, min(_LOOKS, len(self.styles)), CropConfig(c.style_size, min_scale=0.6), rng)
        grams = [self.loss.style_grams(one.to(self.device), SCALES) for one in looks.split(1)]
        predictor.calibrate([torch.cat(tap) for tap in zip(*grams, strict=True)])
        return predictor

    def batches(self, step: int) -> RollingBatch:  # type: ignore[override]
        """The pictures of a step, a pure function of (seed, step, process)."""
        c = self.config
        rng = np.random.default_rng((c.seed, step, self.accelerator.process_index))
        crop = CropConfig(c.size, c.min_scale, c.max_scale, jitter=0.1)
        contents = random_crops(self.contents, c.styles + c.predicted + 1, crop, rng)
        rows = tuple((step * c.styles + i) % c.slots for i in range(c.styles))
        visit = step * c.styles // c.slots
        fresh: dict[int, Tensor] = {}
        for k in rows:
            # the first trajectories are of different lengths, so that slots do not all start anew at once
            if visit == 0 or (visit + k * c.trajectory // c.slots) % c.trajectory == 0:
                picture = next_readable(self.styles, int(rng.integers(len(self.styles))))
                fresh[k] = random_crop(picture, CropConfig(c.style_size, min_scale=0.6), rng)[None]
        corner, unseen = random_corner(rng), None
        if c.predicted:
            # of every hue, as the palettes of a thousand artworks are not all that there are
            look = CropConfig(c.style_size, min_scale=0.6, jitter=0.15)
            unseen = random_crops(self.styles, c.predicted, look, rng)
            unseen = torch.stack([one[rng.permutation(3)] if rng.random() < 0.5 else one for one in unseen])
        return RollingBatch(contents, rows, corner, fresh, unseen)

    def take_step(self, batches: RollingBatch) -> MetaStep:  # type: ignore[override]
        """One step of every slot at hand, and one of what they share."""
        c, rows = self.config, list(batches.rows)
        contents = batches.contents.to(self.device)
        own = self._slots["own"]
        for k, style in batches.fresh.items():
            self._begin(k, style.to(self.device))
        moving = {name: values[rows].requires_grad_() for name, values in own.items()}
        grams = tuple(torch.cat(tap) for tap in zip(*(self._grams[k] for k in rows), strict=True))
        added: Parameters = {}
        if batches.unseen is not None:
            unseen = self.loss.style_grams(batches.unseen.to(self.device), SCALES)
            added = self.predictor(unseen)
            grams = tuple(torch.cat(pair) for pair in zip(grams, unseen, strict=True))
        weights: Parameters = dict(self.theta)
        for name, values in moving.items():
            shared = self.theta[name][None]
            each = [values if is_norm_parameter(name) else shared + values]
            if c.predicted:
                # phi_0 is the identity's, as it is for slots
                alike = shared.expand(c.predicted, *shared.shape[1:])
                each.append(alike.detach() + added[name] if name in added else alike)
            weights[name] = torch.cat([*each, shared])  # (styles + predicted + 1, ...)
        made = transform_traced(self.network, weights, contents, self.loss.features.dtype, batches.corner)
        total, content, style_term = self.loss(made.images[:-1], self.loss.targets(contents[:-1], grams))
        held = restraint(made.images[-1:], contents[-1:], [made], self.loss, c)
        logs = total.log()
        outer = logs.mean() + held.total
        if added:
            outer = outer + c.guess_weight * torch.cat(list(added.values()), 1).square().mean()
        learning = [*self.theta.values(), *(self.predictor.parameters() if c.predicted else ())]
        parts = torch.autograd.grad(outer, [*moving.values(), *learning])
        norm = self._descend(float(outer.detach()), learning, parts[len(moving) :])
        self._advance(rows, dict(zip(moving, parts[: len(moving)], strict=True)))
        walked, guessed = logs.detach()[: c.styles], logs.detach()[c.styles :]
        return MetaStep(
            self.step,
            outer=float(outer.detach()),
            valid=float(walked.mean()),
            content=float(content.detach()[: c.styles].mean()),
            style=float(style_term.detach()[: c.styles].mean()),
            before=float(guessed.mean()),  # where predictions begin; not a number without any
            identity=float(held.identity.detach()),
            logits=float(held.logits.detach()),
            spikes=float(held.spikes.detach()),
            gradient_norm=norm,
            rate=c.slot_rate,
        )

    @torch.no_grad()
    def _begin(self, k: int, style: Tensor) -> None:
        """A slot takes another style, and starts where adaptation would."""
        self._grams[k] = self.loss.style_grams(style, SCALES)
        self._ages[k] = 0
        guess = self.predictor.start(self.theta, self._grams[k]) if self.config.predicted else self.theta
        for name, values in self._slots["own"].items():
            values[k] = guess[name] if is_norm_parameter(name) else 0
            self._slots["mean"][name][k] = 0
            self._slots["square"][name][k] = 0

    def _update_average(self) -> None:
        super()._update_average()
        if self.config.predicted:
            with torch.no_grad():
                for name, p in self.predictor.state_dict().items():
                    self.average_predictor[name].lerp_(p, 1 - self._ema)

    @torch.no_grad()
    def _advance(self, rows: list[int], gradients: Mapping[str, Tensor]) -> None:
        """Adam on what the slots own; every slot counts its own steps."""
        c, walk = self.config, self.config.walk()
        for i, k in enumerate(rows):
            age = self._ages[k]
            self._ages[k] = age + 1
            norms = c.slot_rate * walk.rate(age)
            convolutions = c.slot_learning_rate * walk.rate(age) * walk.rise(age)
            for name, gradient in gradients.items():
                own, mean, square = (self._slots[kind][name][k] for kind in ("own", "mean", "square"))
                mean.lerp_(gradient[i], 1 - _BETAS[0])
                square.lerp_(gradient[i].square(), 1 - _BETAS[1])
                direction = mean / (1 - _BETAS[0] ** (age + 1))
                scale = (square / (1 - _BETAS[1] ** (age + 1))).sqrt() + _EPS
                own -= (norms if is_norm_parameter(name) else convolutions) * direction / scale

    def state_dict(self) -> dict[str, object]:
        """Everything that the next step depends on."""
        grams = {str(k): list(g) for k, g in self._grams.items()}
        state = super().state_dict() | {"slots": self._slots, "ages": list(self._ages), "grams": grams}
        if self.config.predicted:
            state |= {"predictor": self.predictor.state_dict(), "average_predictor": self.average_predictor}
        return state

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state; see `MetaTrainer.load_state_dict`."""
        super().load_state_dict(state)
        slots: dict[str, dict[str, Tensor]] = state["slots"]  # type: ignore[assignment]
        self._slots = {key: {n: v.to(self.device) for n, v in values.items()} for key, values in slots.items()}
        self._ages = list(state["ages"])  # type: ignore[call-overload]
        grams: dict[str, list[Tensor]] = state["grams"]  # type: ignore[assignment]
        self._grams = {int(k): tuple(g.to(self.device) for g in values) for k, values in grams.items()}
        if self.config.predicted:
            self.predictor.load_state_dict(state["predictor"])  # type: ignore[arg-type]
            for name, value in state["average_predictor"].items():  # type: ignore[attr-defined]
                self.average_predictor[name].copy_(value)
