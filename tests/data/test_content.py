"""Adaptation trains on built-in images that are always the same, and on the user's own for half of the crops."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from metastyle_hub.data.content import content_dataset
from metastyle_hub.data.datasets import CropConfig, FolderDataset, InMemoryDataset, random_crops
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import to_tensor

RED = np.broadcast_to(np.uint8([255, 0, 0]), (40, 60, 3)).copy()  # no built-in image is pure red


def share_of_red(dataset, draws: int = 400) -> float:
    rng = np.random.default_rng(0)
    pure = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    crops = torch.cat([random_crops(dataset, 1, CropConfig(8), rng) for _ in range(draws)])
    return float((crops - pure).abs().amax((1, 2, 3)).lt(0.01).float().mean())


def test_without_content_images_the_built_in_ones_are_used():
    dataset = content_dataset()
    assert len(dataset) >= 6
    assert all(p.shape[0] == 3 and min(p.shape[1:]) >= 256 for p in (dataset[i] for i in range(len(dataset))))
    assert share_of_red(dataset, 50) == 0


@pytest.mark.parametrize("count", [1, 3, 40])
def test_own_images_get_half_of_the_crops(count):
    share = share_of_red(content_dataset([tiny.image(RED)] * count))
    if count == 40:  # more of them than there are built-in ones: all are used
        assert share > 0.6
    else:
        assert 0.4 < share < 0.6


def test_an_image_may_come_in_any_form(tmp_path):
    path = tmp_path / "red.png"
    tiny.image(RED).save(path)
    for image in (path, str(path), tiny.image(RED), RED, tiny.tensor(RED)[0], tiny.tensor(RED), [path], (path,)):
        dataset = content_dataset(image)
        assert torch.equal(dataset[0], tiny.tensor(RED)[0])
        assert 0.35 < share_of_red(dataset, 100) < 0.65


def test_a_folder_is_used_alone(tmp_path, monkeypatch):
    tiny.image(RED).save(tmp_path / "a.png")
    dataset = content_dataset(tmp_path)
    assert isinstance(dataset, FolderDataset) and len(dataset) == 1
    assert share_of_red(content_dataset(str(tmp_path)), 20) == 1
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    monkeypatch.setenv("USERPROFILE", str(tmp_path.parent))
    assert isinstance(content_dataset(f"~/{tmp_path.name}"), FolderDataset)


def test_a_dataset_is_used_as_it_is():
    own = InMemoryDataset([tiny.tensor(RED)[0]])
    assert content_dataset(own) is own


def test_large_images_are_shrunk_and_small_ones_are_not_enlarged():
    large, small = np.repeat(np.repeat(RED, 20, 0), 20, 1), RED
    assert min(content_dataset(tiny.image(large))[0].shape[1:]) == 384
    assert torch.equal(content_dataset(tiny.image(small))[0], to_tensor(tiny.image(small))[0])


def test_content_images_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(ImageError) as error:
        content_dataset([tmp_path / "none.jpg"])
    assert "none.jpg" in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError) as error:
        content_dataset(tmp_path / "empty")
    assert str(tmp_path / "empty") in str(error.value)


def test_an_empty_list_is_refused():
    for empty in ([], (), torch.zeros(0, 3, 8, 8)):
        with pytest.raises(ImageError) as error:
            content_dataset(empty)
        assert "empty" in str(error.value)


def test_a_batch_is_several_images():
    batch = torch.stack([tiny.tensor(RED)[0], torch.zeros(3, 40, 60)])
    dataset = content_dataset(batch)
    assert torch.equal(dataset[0], batch[0]) and torch.equal(dataset[1], batch[1])
    assert 0.15 < share_of_red(dataset) < 0.35


@pytest.mark.parametrize("contents", [3, 1.5, object()])
def test_other_objects_are_refused(contents):
    with pytest.raises(ImageError) as error:
        content_dataset(contents)
    assert repr(contents) in str(error.value)
