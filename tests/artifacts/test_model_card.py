"""Model cards: the metadata that the Hub searches, and text that people edited and that is kept."""

from __future__ import annotations

import ast
import io
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.artifacts.model_card import card_image, make_card, merge_cards
from metastyle_hub.errors import ArtifactError

PRINT = "ab" * 32
SHARED = BaseReference(PRINT, "me/base", "c" * 40)
STYLE = ArtifactConfig(
    kind="style",
    name="Starry",
    trainable="norm",
    base_model=SHARED,
    steps=120,
    adaptation={"steps": 120, "size": 256, "weights": {"style_weight": 1e5}},
    style_sha256="cd" * 32,
)
BASE = ArtifactConfig(kind="base", name="A base", training={"steps": 100_000})


def metadata(card: str | bytes) -> dict[str, object]:
    text = card if isinstance(card, str) else card.decode()
    return yaml.safe_load(text.split("---")[1])


def test_a_style_has_the_metadata_that_the_hub_wants():
    card = ModelCard(make_card(STYLE, PRINT, images=["preview.jpg", "style.jpg"]))
    assert card.data.library_name == "metastyle_hub" and card.data.pipeline_tag == "image-to-image"
    assert card.data.license == "apache-2.0" and card.data.model_name == "Starry"
    assert card.data.tags == ["metastyle", "style-transfer", "metastyle-style", "metastyle-base-abababababab"]
    assert card.data.base_model == "me/base" and card.data["base_model_relation"] == "adapter"
    assert [item["output"]["url"] for item in card.data["widget"]] == ["preview.jpg", "style.jpg"]
    assert "<Gallery />" in card.text


@pytest.mark.parametrize("place", ["embedded", "/home/me/runs/base", "unshared"])
def test_a_base_that_is_no_repo_is_not_named_as_one(place):
    config = ArtifactConfig(kind="style", base_model=BaseReference(PRINT, place))
    card = make_card(config, PRINT)
    assert not {"base_model", "base_model_relation", "widget"} & metadata(card).keys()
    assert "/home/me" not in card and "<Gallery />" not in card


def test_the_license_can_be_chosen():
    assert metadata(make_card(BASE, PRINT, license="mit"))["license"] == "mit"
    old = make_card(BASE, PRINT, license="mit").encode()
    assert metadata(merge_cards(old, make_card(BASE, PRINT).encode()))["license"] == "mit"
    newer = merge_cards(old, make_card(BASE, PRINT).encode(), license="cc0-1.0")
    assert metadata(newer)["license"] == "cc0-1.0"


@pytest.mark.parametrize("config", [STYLE, BASE, ArtifactConfig(kind="base", output_activation="clamp")])
def test_the_code_in_a_card_is_code_and_names_the_repo(config):
    card = merge_cards(None, make_card(config, PRINT).encode(), "me/starry").decode()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    ast.parse(code)
    assert 'from_pretrained("me/starry")' in code
    assert all(len(block.strip().splitlines()) <= 5 for block in [code])


def test_settings_and_figures_are_in_the_card():
    card = make_card(STYLE, PRINT)
    for line in ("| steps | 120 |", "| weights: style weight | 100000 |", "| size | 256 |", "cd" * 32):
        assert line in card
    assert "[me/base](https://huggingface.co/me/base) at `cccccccccccc`" in card
    assert "| steps | 100000 |" not in make_card(STYLE, PRINT) and "## Limits" in card


def test_the_stages_of_a_training_are_a_numbered_list():
    stages = ["500 steps of second order", "40,000 long-horizon steps | with Muon"]
    card = make_card(ArtifactConfig(kind="base", training={"data": "photographs", "stages": stages}), PRINT)
    assert "## Stages\n\n1. 500 steps of second order\n2. 40,000 long-horizon steps \\| with Muon\n\n## Limits" in card
    assert "| data | photographs |" in card and "| stages |" not in card


def test_a_card_cites_the_paper_unless_the_network_is_of_others():
    assert all("zhang2019metastyle" in make_card(config, PRINT) for config in (STYLE, BASE))
    assert "zhang2019metastyle" not in make_card(ArtifactConfig(kind="base", output_activation="clamp"), PRINT)


def test_an_unedited_card_is_generated_again():
    first = merge_cards(None, make_card(STYLE, PRINT).encode(), "me/starry")
    assert merge_cards(first, make_card(STYLE, PRINT).encode(), "me/starry") == first
    again = merge_cards(first, make_card(BASE, PRINT).encode(), "me/starry").decode()
    assert "# A base" in again and "Starry" not in again and "base_model" not in metadata(again)
    # it does not matter that the first was in a folder, or went through Windows
    local = merge_cards(None, make_card(STYLE, PRINT).encode(), "my folder").replace(b"\n", b"\r\n")
    assert b"# A base" in merge_cards(local, make_card(BASE, PRINT).encode(), "me/starry")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_an_edited_card_keeps_its_text(ending):
    ours = merge_cards(None, make_card(STYLE, PRINT).encode(), "me/starry").decode()
    edited = ours.replace("## Limits", "## Thanks to Vincent\n\n## Limits").replace("\n", ending)
    body = edited.split(f"---{ending}", 2)[2]
    merged = merge_cards(edited.encode(), make_card(STYLE, PRINT, images=["preview.jpg"]).encode(), "me/starry")
    assert merged.decode().split(f"---{ending}", 2)[2] == body
    assert metadata(merged)["widget"] and (b"\r\n" in merged) == (ending == "\r\n")


def test_an_up_to_date_card_keeps_every_byte():
    data = yaml.safe_dump(metadata(make_card(STYLE, PRINT)), sort_keys=True)
    mine = f"---\n# a comment\n{data}---\n\nMine.\n".encode()
    assert merge_cards(mine, make_card(STYLE, PRINT).encode()) == mine


def test_metadata_of_others_is_kept_and_ours_is_updated():
    mine = b"---\ntags: night\nbase_model: me/old\nlanguage: [fr]\ndatasets: [me/mine]\nlicense: mit\n---\nMine.\n"
    data = metadata(merge_cards(mine, make_card(STYLE, PRINT).encode()))
    assert data["base_model"] == "me/base" and data["language"] == ["fr"] and data["datasets"] == ["me/mine"]
    assert data["tags"][0] == "night" and "metastyle-style" in data["tags"] and data["license"] == "mit"
    unshared = ArtifactConfig(kind="style", base_model=BaseReference(PRINT))
    assert "base_model" not in metadata(merge_cards(mine, make_card(unshared, PRINT).encode()))
    # the tag of an earlier base goes when the style is learned anew
    again = merge_cards(merge_cards(mine, make_card(STYLE, PRINT).encode()), make_card(STYLE, "ef" * 32).encode())
    assert [t for t in metadata(again)["tags"] if t.startswith("metastyle-base")] == ["metastyle-base-efefefefefef"]


@pytest.mark.parametrize("tags", ["2024", "night", "[night]", "null", "{a: b}"])
def test_tags_that_are_no_list_are_accepted(tags):
    merged = metadata(merge_cards(f"---\ntags: {tags}\n---\nMine.\n".encode(), make_card(STYLE, PRINT).encode()))
    assert "metastyle-style" in merged["tags"] and all(isinstance(tag, str) for tag in merged["tags"])


@pytest.mark.parametrize(
    "text", ["Mine, without metadata.\n", "", "---\n---\nMine.\n", "\ufeff---\nlicense: mit\n---\nMine"]
)
def test_cards_without_much_metadata(text):
    merged = merge_cards(text.encode(), make_card(STYLE, PRINT).encode()).decode()
    assert metadata(merged)["library_name"] == "metastyle_hub"
    assert merged.endswith(text.split("---\n")[-1])


@pytest.mark.parametrize(
    ("card", "values"),
    [
        (b"---\ntags: [a\n---\n", []),
        (b"---\n- a\n---\n", []),
        (b"\xff\xfe", ["8"]),
        (b"---\ndate: 2024-02-30\n---\n", []),
        (b"---\na: " + b"[" * 5000 + b"\n---\n", []),
        (b"---\na: !!python/object/apply:os.system [ls]\n---\n", []),
    ],
)
def test_invalid_cards_are_refused(card, values):
    with pytest.raises(ArtifactError) as error:
        merge_cards(card, make_card(STYLE, PRINT).encode(), "me/starry")
    assert all(value in str(error.value) for value in values)
    assert "me/starry" in str(error.value) and "\n" not in str(error.value) and str(error.value).endswith(".")


def test_card_images_are_small_and_without_camera_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    image_ = Image.new("RGBA", (3000, 1500), (255, 0, 0, 0))
    image_.convert("RGB").save(tmp_path / "a.jpg", exif=exif, comment=b"secret note")
    for image in (Image.open(tmp_path / "a.jpg"), image_):
        size = image.size
        data = card_image(image)
        assert b"ecret" not in data and b"Exif" not in data and image.size == size
        shown = Image.open(io.BytesIO(data))
        assert shown.size == (1024, 512) and shown.format == "JPEG"
    assert min(shown.getpixel((5, 5))) > 250  # what was transparent is white


def test_names_cannot_break_the_page():
    config = ArtifactConfig(kind="style", name="<script>|\n# x: [", base_model=SHARED, mix=[{"name": "a|b"}, 3])
    card = make_card(config, PRINT)
    assert metadata(card)["model_name"] == "<script>|\n# x: ["
    assert "<script>" not in card.split("---", 2)[2] and "\n# x" not in card.split("---", 2)[2]
