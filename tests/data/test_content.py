"""What adaptation learns on: built-in pictures that are always the same, and the user's own for half of the crops."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from metastyle_hub.data.content import content_dataset
from metastyle_hub.data.datasets import CropConfig, FolderDataset, InMemoryDataset, random_crops
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import to_tensor

RED = np.broadcast_to(np.uint8([255, 0, 0]), (40, 60, 3)).copy()  # no built-in picture is pure red


def share_of_red(pool, draws: int = 400) -> float:
    rng = np.random.default_rng(0)
    pure = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    crops = torch.cat([random_crops(pool, 1, CropConfig(8), rng) for _ in range(draws)])
    return float((crops - pure).abs().amax((1, 2, 3)).lt(0.01).float().mean())


def test_without_contents_the_built_in_ones_serve():
    pool = content_dataset()
    assert len(pool) >= 6
    assert all(p.shape[0] == 3 and min(p.shape[1:]) >= 256 for p in (pool[i] for i in range(len(pool))))
    assert share_of_red(pool, 50) == 0


@pytest.mark.parametrize("count", [1, 3, 40])
def test_own_photos_make_half_of_the_draws(count):
    pool = content_dataset([tiny.image(RED)] * count)
    share = share_of_red(pool)
    if count == 40:  # more of them than there are built-in ones: none is left out
        assert share > 0.6
    else:
        assert 0.4 < share < 0.6


def test_a_photo_may_come_in_any_form(tmp_path):
    path = tmp_path / "red.png"
    tiny.image(RED).save(path)
    for photo in (path, str(path), tiny.image(RED), RED, tiny.tensor(RED)[0], tiny.tensor(RED), [path], (path,)):
        pool = content_dataset(photo)
        assert torch.equal(pool[0], tiny.tensor(RED)[0])
        assert 0.35 < share_of_red(pool, 100) < 0.65


def test_a_folder_is_all_that_is_used(tmp_path):
    tiny.image(RED).save(tmp_path / "a.png")
    pool = content_dataset(tmp_path)
    assert isinstance(pool, FolderDataset) and len(pool) == 1
    assert share_of_red(content_dataset(str(tmp_path)), 20) == 1


def test_a_pool_of_one_s_own_is_taken_as_it_is():
    own = InMemoryDataset([tiny.tensor(RED)[0]])
    assert content_dataset(own) is own


def test_large_photos_are_shrunk_and_small_ones_are_not_enlarged():
    large, small = np.repeat(np.repeat(RED, 20, 0), 20, 1), RED
    assert min(content_dataset(tiny.image(large))[0].shape[1:]) == 384
    assert torch.equal(content_dataset(tiny.image(small))[0], to_tensor(tiny.image(small))[0])


def test_contents_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(ImageError, match="There is no file"):
        content_dataset([tmp_path / "none.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="There is no image in"):
        content_dataset(tmp_path / "empty")


def test_an_empty_list_of_contents_is_refused():
    with pytest.raises(ImageError, match="The list of contents is empty; name at least one photo"):
        content_dataset([])


@pytest.mark.parametrize("contents", [3, 1.5, object()])
def test_what_is_no_pool_is_refused_before_the_first_step(contents):
    with pytest.raises(ImageError, match="ContentImages are photos, a folder or a pool of pictures, not"):
        content_dataset(contents)
