"""The predictor sees of a style what the loss compares, starts as no guess at all, and never guesses wildly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from hub_fixtures import forget
from hub_server import LocalHub
from safetensors.torch import load_file, save_file

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactError
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.learning import predicted_initialization
from metastyle_hub.losses import MAX_STYLE_SCALES, PerceptualLoss
from metastyle_hub.networks.param_groups import Parameters, is_norm_parameter, norm_parameters
from metastyle_hub.networks.style_predictor import StylePredictor, gram_channels

STEPS = {"steps": 3, "size": 64, "batch": 1}


def predictor(seed: int = 0, features: str = "compact", spread: float = 0.02) -> StylePredictor:
    """One that guesses something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = StylePredictor(gram_channels(SPECS[features]), tiny.parameters())
        torch.nn.init.normal_(made.out.weight, std=spread)
    return made


@pytest.fixture
def guessing(base: MetaStyle) -> MetaStyle:
    """The tiny base with a predictor."""
    return MetaStyle.from_parameters(base.state_dict(), tiny.NETWORK, predictor=predictor().state_dict(), name="guessing")


def grams(*pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return PerceptualLoss(load_feature_extractor()).style_grams(torch.cat(pictures), MAX_STYLE_SCALES)


def painted(seed: int = 0) -> torch.Tensor:
    return tiny.tensor(tiny.style(64, 64, seed))


@pytest.mark.parametrize("name", ["compact", "vgg16", "vgg19", "vgg19_oxford"])
def test_gram_channels_are_those_of_the_features(name: str) -> None:
    features = FeatureExtractor(SPECS[name], name)  # of random weights
    shapes = [gram.shape for gram in PerceptualLoss(features).style_grams(tiny.contents(1, 32), scales=1)]
    assert shapes == [(1, n, n) for n in gram_channels(SPECS[name])]


def test_a_new_predictor_guesses_theta() -> None:
    theta = tiny.parameters()
    new = StylePredictor(gram_channels(SPECS["compact"]), theta)
    assert tiny.same(new.start(theta, grams(painted())), norm_parameters(theta))


def test_it_sees_the_energies_of_a_gram_matrix_along_its_directions() -> None:
    made, (first, *_) = predictor(), grams(painted())
    with torch.no_grad():
        seen, directions, gram = made.energies(grams(painted()))[0], made.directions[0].detach(), first[0]
    mean = float(gram.trace()) / 64
    for i in (0, 17, 63):
        along = float(torch.einsum("a,ab,b", directions[i], gram, directions[i])) / mean
        assert float(seen[i].exp()) == pytest.approx(along + 1e-3, rel=1e-3)
    assert float(seen[64].exp()) == pytest.approx(mean, rel=1e-4)


def test_the_guess_of_a_batch_is_that_of_each_style() -> None:
    made, some = predictor(), "down.0.norm.scale"
    both = made(grams(painted(0), painted(1)))
    for i in range(2):
        for name, values in made(grams(painted(i))).items():
            torch.testing.assert_close(both[name][i], values[0], rtol=1e-4, atol=1e-5)
    assert not torch.equal(both[some][0], both[some][1])


def test_calibration_makes_what_it_sees_of_many_styles_standard() -> None:
    made, looks = predictor(), grams(*(painted(i) for i in range(6)))
    made.calibrate(looks)
    seen = (made.energies(looks) - made.mean) / made.std
    torch.testing.assert_close(seen.mean(0), torch.zeros_like(seen[0]), atol=1e-4, rtol=0)
    assert float(seen.std(0).max()) <= 1.0


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_picture_of_one_colour_gets_no_wilder_a_guess_than_any_other(level: float) -> None:
    made = predictor()
    made.calibrate(grams(*(painted(i) for i in range(6))))
    flat = made(grams(torch.full((1, 3, 64, 64), level)))
    far = made([1e12 * gram for gram in grams(painted())])  # and nothing is far enough to leave the line
    for name, values in flat.items():
        assert bool(values.isfinite().all() and far[name].isfinite().all())
        assert float(values.abs().max()) < 5


# --- in an adaptation


def test_the_first_step_is_taken_from_the_guess_and_step_0_is_the_base(guessing: MetaStyle) -> None:
    style = tiny.image(tiny.style(64, 64))
    first, second, *_ = guessing.adapt_iter(style, **STEPS, precision="float32", final_lr_ratio=1.0, style_size=64)
    assert tiny.same(first.style_model.parameters, guessing.parameters)
    assert guessing.predictor is not None
    start = predicted_initialization(guessing.predictor, "compact", guessing.parameters, painted())
    far = {name: float((start[name] - guessing.parameters[name]).abs().max()) for name in start}
    assert max(far.values()) > 0.1
    for name, value in second.style_model.parameters.items():
        if is_norm_parameter(name):  # Adam's first step has the length of the rate
            assert float((value - start[name]).abs().max()) <= 0.03 + 1e-5


def test_no_steps_make_no_guess(guessing: MetaStyle) -> None:
    style = guessing.adapt(tiny.image(tiny.style()), **STEPS | {"steps": 0})
    assert tiny.same(style.state_dict(), guessing.parameters)


def test_without_the_guess_it_is_the_adaptation_of_a_base_that_has_none(base: MetaStyle, guessing: MetaStyle) -> None:
    picture = tiny.image(tiny.style())
    plain = base.adapt(picture, **STEPS)
    assert tiny.same(guessing.adapt(picture, **STEPS, use_predictor=False).parameters, plain.parameters)
    assert not tiny.same(guessing.adapt(picture, **STEPS).parameters, plain.parameters)


def test_a_style_that_is_learned_further_goes_on_from_where_it_is(guessing: MetaStyle) -> None:
    picture = tiny.image(tiny.style())
    style = guessing.adapt(picture, **STEPS)
    first, second, *_ = style.adapt_iter(picture, **STEPS)
    assert tiny.same(first.style_model.parameters, style.state_dict())
    norms = norm_parameters(style.state_dict())
    assert all(float((second.style_model.parameters[n] - p).abs().max()) < 0.04 for n, p in norms.items())


def test_guessing_leaves_the_callers_random_numbers_alone(guessing: MetaStyle) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    guessing.adapt(tiny.image(tiny.style()), **STEPS)
    assert torch.equal(torch.rand(3), expected)


def test_it_guesses_alike_in_a_callers_inference_mode(guessing: MetaStyle) -> None:
    picture = tiny.image(tiny.style())
    with torch.inference_mode():
        inside = guessing.adapt(picture, **STEPS)
    assert tiny.same(inside.parameters, guessing.adapt(picture, **STEPS).parameters)


# --- on disk


def test_a_base_comes_back_with_its_predictor_and_learns_the_same(guessing: MetaStyle, tmp_path: Path) -> None:
    back = MetaStyle.from_pretrained(guessing.save_pretrained(tmp_path / "base"))
    assert back.predictor is not None and guessing.predictor is not None
    assert tiny.same(back.predictor, guessing.predictor)
    assert tiny.same(back.state_dict(), guessing.parameters)
    picture = tiny.image(tiny.style())
    learned = back.adapt(picture, **STEPS)
    assert tiny.same(learned.state_dict(), guessing.adapt(picture, **STEPS).parameters)
    assert not any(
        "predictor" in name for name in load_file(learned.save_pretrained(tmp_path / "style") / WEIGHTS_FILE)
    )


def test_a_base_on_the_hub_brings_its_predictor_to_everybody(guessing: MetaStyle, hub: LocalHub) -> None:
    guessing.push_to_hub("me/base")
    there = MetaStyle.from_pretrained("me/base")
    assert there.predictor is not None and guessing.predictor is not None
    assert tiny.same(there.predictor, guessing.predictor)
    picture = tiny.image(tiny.style())
    style = there.adapt(picture, **STEPS)
    assert tiny.same(style.state_dict(), guessing.adapt(picture, **STEPS).parameters)
    style.push_to_hub("me/style")
    forget()
    back = MetaStyle.from_pretrained("me/style")
    assert tiny.same(back.state_dict(), style.state_dict())
    assert back.base.predictor is not None and tiny.same(back.base.predictor, guessing.predictor)


def edited(base: MetaStyle, folder: Path, change: dict[str, torch.Tensor | None]) -> Path:
    file = base.save_pretrained(folder) / WEIGHTS_FILE
    tensors: Parameters = load_file(file)
    save_file({k: v for k, v in {**tensors, **change}.items() if v is not None}, file)
    return folder


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"predictor.mean": None}, "lacks 1 tensors, mean among them"),
        ({"predictor.more": torch.zeros(1)}, "has 1 tensors too many, more among them"),
        ({"predictor.mean": torch.zeros(7)}, "has shape (7,), expected (585,)"),
        ({"predictor.mean": torch.full((585,), float("nan"))}, "no finite numbers"),
    ],
)
def test_a_damaged_predictor_is_refused(
    guessing: MetaStyle, tmp_path: Path, change: dict[str, torch.Tensor | None], complaint: str
) -> None:
    with pytest.raises(ArtifactError) as caught:
        MetaStyle.from_pretrained(edited(guessing, tmp_path / "base", change))
    assert "the predictor in model.safetensors" in str(caught.value)
    assert complaint in str(caught.value)


def test_a_predictor_of_unknown_features_is_refused(guessing: MetaStyle, tmp_path: Path) -> None:
    config = guessing.save_pretrained(tmp_path / "base") / CONFIG_FILE
    config.write_text(config.read_text().replace('"features": "compact"', '"features": "eyes"'))
    with pytest.raises(ArtifactError, match=r"reads features 'eyes'; known are compact, vgg16,"):
        MetaStyle.from_pretrained(tmp_path / "base")


def test_a_predictor_for_another_network_is_refused(base: MetaStyle) -> None:
    wider = MetaStyle.from_parameters(
        tiny.parameters(config=replace(tiny.NETWORK, width=8)), replace(tiny.NETWORK, width=8)
    )
    with pytest.raises(ArtifactError, match="the dictionary of the predictor"):
        MetaStyle.from_parameters(wider.parameters, wider.config.architecture, predictor=predictor().state_dict())
