"""The predictor reads of a style what the loss compares, predicts theta while untrained, and is bounded."""

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
from metastyle_hub.adaptation import predicted_initialization
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.errors import ArtifactError, SettingError
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.networks.param_groups import Parameters, is_norm_parameter, norm_parameters
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES, StylePredictor

STEPS = {"steps": 3, "crop_size": 64, "batch_size": 1, "progress": False}
ITER = {key: value for key, value in STEPS.items() if key != "progress"}
CHANNELS = SPECS["compact"].gram_channels


def predictor(seed: int = 0, features: str = "compact", spread: float = 0.02) -> StylePredictor:
    """One that predicts something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = StylePredictor(SPECS[features].gram_channels, MAX_STYLE_SCALES, tiny.parameters())
        torch.nn.init.normal_(made.out.weight, std=spread)
    return made


@pytest.fixture
def predicting(base: MetaStyle) -> MetaStyle:
    """The tiny base with a predictor."""
    return MetaStyle.from_parameters(
        base.state_dict(), tiny.NETWORK, predictor=predictor().state_dict(), name="predicting"
    )


def grams(*images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return PerceptualLoss(load_feature_extractor()).style_grams(torch.cat(images), MAX_STYLE_SCALES)


def style_image(seed: int = 0) -> torch.Tensor:
    return tiny.tensor(tiny.style(64, 64, seed))


@pytest.mark.parametrize("name", ["compact", "vgg16", "vgg19", "vgg19_oxford"])
def test_gram_channels_are_those_of_the_feature_extractor(name: str) -> None:
    features = FeatureExtractor(SPECS[name], name)  # of random weights
    shapes = [gram.shape for gram in PerceptualLoss(features).style_grams(tiny.contents(1, 32), scales=1)]
    assert shapes == [(1, n, n) for n in SPECS[name].gram_channels]


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_the_number_of_scales_is_an_argument(scales: int) -> None:
    made = StylePredictor(CHANNELS, scales, tiny.parameters())
    counts = [64, 96, 128, *(scales - 1) * [32, 48, 64]]
    assert [len(directions) for directions in made.directions] == counts
    offsets = made(PerceptualLoss(load_feature_extractor()).style_grams(style_image(), scales))
    assert {name: p.shape for name, p in offsets.items()} == {
        name: (1, *p.shape) for name, p in norm_parameters(tiny.parameters()).items()
    }


def test_a_new_predictor_predicts_theta() -> None:
    theta = tiny.parameters()
    new = StylePredictor(CHANNELS, MAX_STYLE_SCALES, theta)
    assert tiny.same(new.initialization(theta, grams(style_image())), norm_parameters(theta))


def test_predictions_are_offsets_from_theta() -> None:
    made, theta, style = predictor(), tiny.parameters(), grams(style_image())
    with torch.no_grad():
        offsets = made(style)
    for name, p in made.initialization(theta, style).items():
        assert bool(offsets[name].any())
        torch.testing.assert_close(p, theta[name] + offsets[name][0])


def test_its_inputs_are_the_energies_of_a_gram_matrix_along_its_directions() -> None:
    made, (first, *_) = predictor(), grams(style_image())
    with torch.no_grad():
        seen, directions, gram = made.energies(grams(style_image()))[0], made.directions[0].detach(), first[0]
    mean = float(gram.trace()) / 64
    for i in (0, 17, 63):
        energy = float(torch.einsum("a,ab,b", directions[i], gram, directions[i])) / mean
        assert float(seen[i].exp()) == pytest.approx(energy + 1e-3, rel=1e-3)
    assert float(seen[64].exp()) == pytest.approx(mean, rel=1e-4)


def test_the_predictions_of_a_batch_are_those_of_each_style() -> None:
    made, some = predictor(), "encoder.0.norm.weight"
    both = made(grams(style_image(0), style_image(1)))
    for i in range(2):
        for name, values in made(grams(style_image(i))).items():
            torch.testing.assert_close(both[name][i], values[0], rtol=1e-4, atol=1e-5)
    assert not torch.equal(both[some][0], both[some][1])


def test_calibration_standardizes_the_inputs_over_many_styles() -> None:
    made, many = predictor(), grams(*(style_image(i) for i in range(6)))
    made.calibrate(many)
    seen = (made.energies(many) - made.mean) / made.std
    torch.testing.assert_close(seen.mean(0), torch.zeros_like(seen[0]), atol=1e-4, rtol=0)
    deviations = made.energies(many).std(0)
    torch.testing.assert_close(seen.std(0), deviations / (deviations + 1e-3), rtol=1e-3, atol=1e-4)
    assert float(seen.detach().std(0).median()) > 0.9


@torch.no_grad()
def test_inputs_are_clamped_at_four_standard_deviations() -> None:
    made, style = predictor(spread=0.5).double(), [gram.double() for gram in grams(style_image())]
    energies = made.energies(style)[0]
    made.std.fill_(0.5)

    def predicted(deviations: float) -> torch.Tensor:
        """The prediction where every input lies so many standard deviations from the mean."""
        made.mean.copy_(energies - 0.5 * deviations)
        return torch.cat(list(made(style).values()), 1)

    for sign in (1, -1):
        at_4 = predicted(4 * sign)
        for beyond in (4.5, 10, 1000):
            torch.testing.assert_close(predicted(beyond * sign), at_4)
        distances = [float((predicted(d * sign) - at_4).norm() / at_4.norm()) for d in (3.9, 3.5, 2)]
        assert 1e-3 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_the_prediction_for_an_image_of_one_color_is_bounded(level: float) -> None:
    made = predictor()
    made.calibrate(grams(*(style_image(i) for i in range(6))))
    flat = made(grams(torch.full((1, 3, 64, 64), level)))
    far = made([1e12 * gram for gram in grams(style_image())])  # however far an input is from its mean
    for name, values in flat.items():
        assert bool(values.isfinite().all() and far[name].isfinite().all())
        assert float(values.detach().abs().max()) < 5


# --- in an adaptation


def test_the_first_step_starts_from_the_prediction_and_step_0_is_the_base(predicting: MetaStyle) -> None:
    style, theta = tiny.image(tiny.style(64, 64)), predicting.state_dict()
    first, second, *_ = predicting.adapt_iter(style, **ITER, precision="float32", final_lr_ratio=1.0, style_size=64)
    assert tiny.same(first.style_model.state_dict(), theta)
    assert predicting.predictor is not None
    start = predicted_initialization(predicting.predictor, "compact", theta, style_image())
    assert max(float((start[name] - theta[name]).abs().max()) for name in start) > 0.1
    for name, value in second.style_model.state_dict().items():
        if is_norm_parameter(name):  # Adam's first step has the length of the learning rate
            assert float((value - start[name]).abs().max()) <= 0.03 + 1e-5


def test_without_steps_there_is_no_prediction(predicting: MetaStyle) -> None:
    style = predicting.adapt(tiny.image(tiny.style()), **STEPS | {"steps": 0})
    assert tiny.same(style.state_dict(), predicting.state_dict())


def test_without_the_prediction_it_is_the_adaptation_of_a_base_without_predictor(
    base: MetaStyle, predicting: MetaStyle
) -> None:
    style = tiny.image(tiny.style())
    plain = base.adapt(style, **STEPS)
    assert tiny.same(predicting.adapt(style, **STEPS, use_predictor=False).state_dict(), plain.state_dict())
    assert not tiny.same(predicting.adapt(style, **STEPS).state_dict(), plain.state_dict())


def test_a_style_that_is_adapted_further_continues_from_its_parameters(predicting: MetaStyle) -> None:
    image = tiny.image(tiny.style())
    style = predicting.adapt(image, **STEPS)
    first, second, *_ = style.adapt_iter(image, **ITER)
    assert tiny.same(first.style_model.state_dict(), style.state_dict())
    norms = norm_parameters(style.state_dict())
    assert all(float((second.style_model.state_dict()[n] - p).abs().max()) < 0.04 for n, p in norms.items())


def test_prediction_leaves_the_caller_s_generator_alone(predicting: MetaStyle) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    predicting.adapt(tiny.image(tiny.style()), **STEPS)
    predicting.predict_style(tiny.image(tiny.style()))
    assert torch.equal(torch.rand(3), expected)


def test_the_prediction_is_the_same_in_inference_mode(predicting: MetaStyle) -> None:
    image = tiny.image(tiny.style())
    with torch.inference_mode():
        inside = predicting.adapt(image, **STEPS)
    assert tiny.same(inside.state_dict(), predicting.adapt(image, **STEPS).state_dict())


# --- predict_style


def test_a_predicted_style_is_the_initialization_of_the_first_step(predicting: MetaStyle) -> None:
    style, theta = tiny.image(tiny.style(64, 64)), predicting.state_dict()
    quick = predicting.predict_style(style, style_size=64)
    assert predicting.predictor is not None
    start = predicted_initialization(predicting.predictor, "compact", theta, style_image())
    assert tiny.same(quick.state_dict(), {**theta, **start})
    # a step of learning rate 0 stays where the first step starts
    options = {**STEPS, "steps": 1, "learning_rate": 0, "norm_learning_rate": 0, "style_size": 64}
    assert tiny.same(predicting.adapt(style, **options).state_dict(), quick.state_dict())


def test_a_predicted_style_is_a_style_of_norms_without_steps(predicting: MetaStyle, tmp_path: Path) -> None:
    path = tmp_path / "great_wave.png"
    tiny.image(tiny.style()).save(path)
    quick = predicting.predict_style(path)
    assert not quick.is_base and quick.base is predicting and quick.name == "great_wave"
    assert (quick.config.trainable, quick.config.steps) == ("norm", 0)
    assert quick.num_parameters(only_own=True) == sum(p.numel() for p in norm_parameters(quick.state_dict()).values())
    assert quick.config.style_sha256 == predicting.adapt(path, **STEPS | {"steps": 0}).config.style_sha256
    assert predicting.predict_style(path, name="wave").name == "wave"
    back = MetaStyle.from_pretrained(predicting.save_pretrained(tmp_path / "base")).load_style(
        quick.save_pretrained(tmp_path / "style")
    )
    assert back == quick
    assert not torch.equal(quick.stylize(tiny.contents(1)), predicting.stylize(tiny.contents(1)))


def test_prediction_needs_no_gradient(predicting: MetaStyle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a gradient was computed")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with context():
            quick = predicting.predict_style(tiny.style())
        assert not any(p.requires_grad for p in quick.state_dict().values())


def test_several_images_give_the_prediction_for_their_mean_gram_matrices(predicting: MetaStyle) -> None:
    images = [tiny.image(tiny.style(64, 64, seed)) for seed in range(2)]
    both = predicting.predict_style(images, style_size=64)
    each = [grams(style_image(seed)) for seed in range(2)]
    mean = [torch.stack(pair).mean(0) for pair in zip(*each, strict=True)]
    start = predictor().initialization(predicting.state_dict(), mean)
    for name, p in start.items():
        torch.testing.assert_close(both.state_dict()[name], p, rtol=1e-4, atol=1e-5)
    assert both != predicting.predict_style(images[0], style_size=64)


def test_a_base_without_predictor_and_a_wrong_style_size_are_refused(base: MetaStyle, predicting: MetaStyle) -> None:
    with pytest.raises(SettingError) as error:
        base.predict_style(tiny.style())
    assert base.name in str(error.value) and "adapt" in str(error.value)
    for size in (0, "big", (64, 64)):
        with pytest.raises(SettingError) as error:
            predicting.predict_style(tiny.style(), style_size=size)  # type: ignore[arg-type]
        assert "style_size" in str(error.value) and repr(size) in str(error.value)


# --- saved


def test_a_base_is_loaded_with_its_predictor_and_adapts_alike(predicting: MetaStyle, tmp_path: Path) -> None:
    back = MetaStyle.from_pretrained(predicting.save_pretrained(tmp_path / "base"))
    assert back.predictor is not None and predicting.predictor is not None
    assert tiny.same(back.predictor, predicting.predictor)
    assert tiny.same(back.state_dict(), predicting.state_dict())
    image = tiny.image(tiny.style())
    style = back.adapt(image, **STEPS)
    assert tiny.same(style.state_dict(), predicting.adapt(image, **STEPS).state_dict())
    assert not any("predictor" in name for name in load_file(style.save_pretrained(tmp_path / "style") / WEIGHTS_FILE))


def test_a_base_on_the_hub_is_loaded_with_its_predictor(predicting: MetaStyle, hub: LocalHub) -> None:
    predicting.push_to_hub("me/base")
    there = MetaStyle.from_pretrained("me/base")
    assert there.predictor is not None and predicting.predictor is not None
    assert tiny.same(there.predictor, predicting.predictor)
    image = tiny.image(tiny.style())
    style = there.adapt(image, **STEPS)
    assert tiny.same(style.state_dict(), predicting.adapt(image, **STEPS).state_dict())
    style.push_to_hub("me/style")
    forget()
    back = MetaStyle.from_pretrained("me/style")
    assert tiny.same(back.state_dict(), style.state_dict())
    assert back.base.predictor is not None and tiny.same(back.base.predictor, predicting.predictor)


def edited(base: MetaStyle, folder: Path, change: dict[str, torch.Tensor | None]) -> Path:
    file = base.save_pretrained(folder) / WEIGHTS_FILE
    tensors: Parameters = load_file(file)
    save_file({k: v for k, v in {**tensors, **change}.items() if v is not None}, file)
    return folder


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"predictor.mean": None}, ("mean", "absent")),
        ({"predictor.more": torch.zeros(1)}, ("more",)),
        ({"predictor.mean": torch.zeros(7)}, ("mean", "(7,)", "(585,)")),
        ({"predictor.mean": torch.full((585,), float("nan"))}, ("mean", "finite")),
    ],
)
def test_a_damaged_predictor_is_refused(
    predicting: MetaStyle, tmp_path: Path, change: dict[str, torch.Tensor | None], named: tuple[str, ...]
) -> None:
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained(edited(predicting, tmp_path / "base", change))
    sentence = str(error.value)
    assert "predictor" in sentence and WEIGHTS_FILE in sentence and all(part in sentence for part in named)


def test_a_predictor_of_an_unknown_feature_extractor_is_refused(predicting: MetaStyle, tmp_path: Path) -> None:
    config = predicting.save_pretrained(tmp_path / "base") / CONFIG_FILE
    text = config.read_text()
    assert '"feature_extractor": "compact"' in text
    config.write_text(text.replace('"feature_extractor": "compact"', '"feature_extractor": "resnet"'))
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_pretrained(tmp_path / "base")
    assert "'resnet'" in str(error.value) and all(name in str(error.value) for name in SPECS)


def test_a_predictor_for_another_network_is_refused() -> None:
    architecture = replace(tiny.NETWORK, width=8)
    with pytest.raises(ArtifactError) as error:
        MetaStyle.from_parameters(
            tiny.parameters(config=architecture), architecture, predictor=predictor().state_dict()
        )
    assert "predictor" in str(error.value) and "out" in str(error.value)
