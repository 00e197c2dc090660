"""The runner of the evaluation: its figures are correct, and are never those of another base or other settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from evaluation.fidelity import fidelity, psnr
from evaluation.measurements import Measurement
from evaluation.runner import Evaluation, Method, load_evaluation_loss, spread_pairs
from safetensors.torch import save_file

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.baselines.gatys import GatysConfig
from metastyle_hub.data.datasets import FolderDataset, InMemoryDataset
from metastyle_hub.images.io import save_image
from metastyle_hub.losses import MAX_STYLE_SCALES, LossWeights, PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor
from metastyle_hub.networks.style_predictor import StylePredictor
from metastyle_hub.networks.transformer_net import TransformerNet

ADAPTATION = AdaptationConfig(steps=3, crop_size=64, batch_size=1)
BASE = Method("base", "base", (0, 3), ADAPTATION)
METHODS = (
    Method("photo", "photo", (0,)),
    BASE,
    Method("scratch", "scratch", (0, 3), ADAPTATION),
    Method("gatys", "gatys", (0, 2), gatys=GatysConfig(iterations=2)),
)


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    extractor = tiny.features()
    styles = torch.cat([tiny.tensor(tiny.style(64, 64, i)) for i in range(2)])
    return Evaluation(
        loss=PerceptualLoss(extractor, LossWeights(tone_weight=0, checkerboard_weight=0)),
        contents=tiny.contents(3, 64),
        styles=styles,
        pairs=[(0, 0), (0, 1), (1, 2)],
        theta=tiny.parameters(),
        content_dataset=InMemoryDataset(list(tiny.contents(2, 80, seed=9))),
        feature_extractor=extractor,
        folder=tmp_path,
        architecture=tiny.NETWORK,
    )


def measure(evaluation: Evaluation, *methods: Method) -> list[Measurement]:
    return [row for unit in evaluation.run(methods) for row in unit]


def lines(evaluation: Evaluation) -> list[str]:
    assert evaluation.folder is not None
    return (evaluation.folder / "measurements.jsonl").read_text().splitlines(keepends=True)


def test_every_pair_is_measured_at_every_mark(evaluation: Evaluation) -> None:
    rows = measure(evaluation, *METHODS)
    for method in METHODS:
        found = {(r.style, r.content, r.step) for r in rows if r.method == method.name}
        assert found == {(s, c, mark) for s, c in evaluation.pairs for mark in method.marks}
    for r in rows:
        weights = evaluation.loss.weights
        expected = weights.content_weight * r.content_loss + weights.style_weight * r.style_loss
        assert r.total == pytest.approx(expected, rel=1e-5)


def test_the_content_image_has_no_content_loss_and_gatys_starts_from_it(evaluation: Evaluation) -> None:
    rows = measure(evaluation, *METHODS)
    unchanged = {(r.style, r.content): r.total for r in rows if r.method == "photo"}
    start = {(r.style, r.content): r.total for r in rows if r.method == "gatys" and r.step == 0}
    assert unchanged == pytest.approx(start)
    assert all(r.content_loss == pytest.approx(0, abs=1e-9) for r in rows if r.method == "photo")


def test_an_interrupted_run_continues_without_measuring_twice(evaluation: Evaluation) -> None:
    whole = measure(evaluation, *METHODS[:3])
    kept = lines(evaluation)
    assert evaluation.folder is not None
    file = evaluation.folder / "measurements.jsonl"
    file.write_text("".join(kept[:3]) + kept[3][: len(kept[3]) // 2])  # killed while writing the fourth
    again = measure(evaluation, *METHODS[:3])
    assert [replace(r, seconds=0) for r in again] == [replace(r, seconds=0) for r in whole]
    assert [r.seconds for r in again[:4]] == [r.seconds for r in whole[:4]]  # read back, not measured again
    # the incomplete line made no other unreadable: all six units are read back now
    assert evaluation.measured(METHODS[:3]) == again and len(lines(evaluation)) == 7


def test_every_method_adapts_with_the_weights_of_its_own_loss(evaluation: Evaluation) -> None:
    content = replace(BASE, name="content", adaptation=ADAPTATION.replace(weights=LossWeights(style_weight=0)))
    rows = measure(evaluation, BASE, content)
    starts, ends = ([r for r in rows if r.step == step] for step in (0, 3))
    own, other = ({r.total for r in starts if r.method == name} for name in (BASE.name, "content"))
    assert own == other  # before any step
    own, other = ([r.content_loss for r in ends if r.method == name] for name in (BASE.name, "content"))
    assert sum(other) < sum(own)  # a loss of content alone preserves more of it


def test_another_base_or_other_settings_are_measured_anew(evaluation: Evaluation) -> None:
    first = measure(evaluation, BASE)
    assert measure(evaluation, BASE) == first  # nothing changed: read back
    other_dataset = InMemoryDataset(list(tiny.contents(2, 80, seed=7)))
    unlike = [
        (replace(evaluation, theta=tiny.parameters(seed=1)), BASE),
        (evaluation, replace(BASE, adaptation=ADAPTATION.replace(norm_learning_rate=0.1))),
        (evaluation, replace(BASE, marks=(0, 2, 3))),
        (evaluation, replace(BASE, adaptation=ADAPTATION.replace(weights=LossWeights(style_weight=1)))),
        (replace(evaluation, feature_extractor=tiny.features(seed=1)), BASE),
        (replace(evaluation, loss=PerceptualLoss(tiny.features(seed=1), evaluation.loss.weights)), BASE),
        (replace(evaluation, content_dataset=other_dataset), BASE),
        (replace(evaluation, contents=evaluation.contents.flip(-1)), BASE),
        (replace(evaluation, styles=evaluation.styles.flip(0)), BASE),
        (replace(evaluation, pairs=[(0, 0), (0, 2), (1, 1)]), BASE),
    ]
    for i, (other, method) in enumerate(unlike):
        assert other.measured([method]) == [], i
    other, method = unlike[0]
    assert {r.total for r in measure(other, method)}.isdisjoint(r.total for r in first)
    assert evaluation.measured([BASE]) == first  # and the old ones are still there


def test_what_a_method_does_not_use_does_not_make_it_new(evaluation: Evaluation) -> None:
    pixels = METHODS[3]
    first = measure(evaluation, pixels)
    dataset = InMemoryDataset(list(tiny.contents(1, 80, seed=3)))
    other = replace(evaluation, theta=tiny.parameters(seed=1), content_dataset=dataset)
    assert other.measured([pixels]) == first  # Gatys' method has no base


def test_two_names_of_the_same_settings_are_measured_once(evaluation: Evaluation) -> None:
    twin = replace(BASE, name="base_decoder", adaptation=ADAPTATION.replace(trainable="decoder"))
    rows = measure(evaluation, BASE, twin)
    assert len(lines(evaluation)) == 2  # one of each style
    twins = [[replace(r, method="") for r in rows if r.method == name] for name in ("base", "base_decoder")]
    assert twins[0] == twins[1]


def test_a_method_counts_as_measured_when_all_its_styles_are(evaluation: Evaluation) -> None:
    run = evaluation.run([BASE])
    next(run)
    assert evaluation.measured([BASE]) == []
    list(run)
    assert {r.style for r in evaluation.measured([BASE])} == {0, 1}


def test_a_folder_of_contents_is_identified_by_its_files(evaluation: Evaluation, tmp_path: Path) -> None:
    folder = tmp_path / "content"
    for i in range(2):
        save_image(tiny.image(tiny.content(80, 80, i)), folder / f"{i}.png")
    ours = replace(evaluation, content_dataset=FolderDataset(folder))
    measure(ours, BASE)
    assert replace(evaluation, content_dataset=FolderDataset(folder)).measured([BASE])
    save_image(tiny.image(tiny.content(80, 80, 5)), folder / "2.png")
    assert not replace(evaluation, content_dataset=FolderDataset(folder)).measured([BASE])


def test_the_image_grid_shows_the_evaluated_images(evaluation: Evaluation) -> None:
    evaluation.grid_pairs = [(0, 1), (1, 2)]
    gatys = METHODS[3]
    measure(evaluation, gatys)
    grid = evaluation.grid([(gatys, 0), (BASE, 3)], tile=64)
    width, height = grid.size
    pixels = torch.frombuffer(bytearray(grid.tobytes()), dtype=torch.uint8).view(height, width, 3).permute(2, 0, 1)
    top = height - 2 * (64 + 8)
    columns = [pixels[:, top : top + 64, 8 + i * 72 : 8 + i * 72 + 64].float() / 255 for i in range(4)]
    assert psnr(columns[0][None], evaluation.contents[1][None]) > 40
    assert psnr(columns[1][None], evaluation.styles[0][None]) > 40
    assert psnr(columns[2][None], evaluation.contents[1][None]) > 40  # at 0 iterations Gatys' image is the content
    empty = columns[3].flatten(1)
    assert torch.equal(empty.amin(1), empty.amax(1))  # the base was not measured


def test_a_converted_base_is_evaluated_by_the_images_that_it_makes(evaluation: Evaluation) -> None:
    base = MetaStyle.from_parameters(evaluation.theta, tiny.NETWORK, output_activation="clamp")
    as_sigmoid = measure(evaluation, BASE)
    rows = measure(replace(evaluation, output_activation="clamp"), BASE)
    assert {r.total for r in rows}.isdisjoint(r.total for r in as_sigmoid)  # nor are these read for those
    loss = evaluation.loss
    for r in (r for r in rows if r.step == 0):
        content, style = evaluation.contents[[r.content]], evaluation.styles[[r.style]]
        total = loss(base.stylize(content), loss.targets(content, loss.style_grams(style)))[0]
        assert r.total == pytest.approx(float(total), rel=1e-4)


def test_both_evaluation_networks_have_the_same_taps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = FeatureExtractor(SPECS["vgg19"]).state_dict()  # in place of torchvision's, where its download would be
    cached = Path(torch.hub.get_dir()) / "metastyle_hub" / "vgg19_features.safetensors"
    cached.parent.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, cached)
    loss = load_evaluation_loss()
    assert loss.feature_extractor.name == "vgg19" and loss.weights.style_weight == 10
    assert loss.feature_extractor.spec.style_taps == SPECS["vgg19_oxford"].style_taps
    assert loss.feature_extractor.spec.content_tap == SPECS["vgg19_oxford"].content_tap


def test_the_measure_has_two_terms_at_full_size_or_style_at_three_scales(inputs: Path) -> None:
    loss = load_evaluation_loss(inputs / "vgg.safetensors")
    assert loss.feature_extractor.name == "vgg19_oxford" and loss.weights.compared_scales == 1
    w = loss.weights
    assert (w.content_weight, w.style_weight) == (1, 10)
    assert (w.tone_weight, w.tv_weight, w.checkerboard_weight, w.coarse_weight) == (0, 0, 0, 0)
    weights = load_evaluation_loss(inputs / "vgg.safetensors", coarse_weight=1.0).weights
    assert weights.compared_scales == MAX_STYLE_SCALES


@pytest.mark.parametrize(("styles", "contents"), [(48, 64), (10, 7), (5, 3), (1, 1), (3, 49)])
def test_pairs_are_spread_and_never_twice_the_same(styles: int, contents: int) -> None:
    pairs = spread_pairs(styles, contents, count=4, each=3)
    assert len(set(pairs)) == len(pairs) == min(4, styles) * min(3, contents)
    assert all(0 <= s < styles and 0 <= c < contents for s, c in pairs)
    assert {0, styles - 1} <= {s for s, _ in pairs}


def test_psnr_of_a_known_error() -> None:
    reference = torch.full((2, 3, 8, 8), 0.5)
    images = reference + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    assert psnr(images, reference).tolist() == pytest.approx([20.0, 40.0], abs=1e-3)


def test_fidelity_counts_the_images_above_a_level() -> None:
    torch.manual_seed(0)
    network = TransformerNet()  # a new one is nearly the identity
    contents = torch.cat([tiny.contents(2, 32), torch.rand(1, 3, 32, 32)])
    found = fidelity(network, network.parameter_dict(), contents)
    with torch.no_grad():
        values = psnr(torch.sigmoid(network(contents)), contents)
    assert found.images == 3 and found.least == pytest.approx(float(values.min()), abs=0.1)
    assert found.mean == pytest.approx(float(values.mean()), abs=0.1)
    assert found.above_20 == pytest.approx(float((values > 20).float().mean()))
    assert found.above_24 <= found.above_20


def test_a_predictor_counts_from_the_first_step_and_figures_without_it_are_others(evaluation: Evaluation) -> None:
    plain = measure(evaluation, BASE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor = StylePredictor(SPECS["compact"].gram_channels, MAX_STYLE_SCALES, evaluation.theta)
        torch.nn.init.normal_(predictor.out.weight, std=0.02)
    predicting = replace(evaluation, predictor=predictor.state_dict())
    predicted = measure(predicting, BASE)
    for without, with_it in zip(plain, predicted, strict=True):
        assert (without.style, without.content, without.step) == (with_it.style, with_it.content, with_it.step)
        assert (without.total == with_it.total) == (without.step == 0)
    unpredicted = Method("without", "base", BASE.marks, ADAPTATION.replace(use_predictor=False))
    assert [row.total for row in measure(predicting, unpredicted)] == [row.total for row in plain]
