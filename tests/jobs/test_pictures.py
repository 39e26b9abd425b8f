"""Seeds to pictures, latents to frames, and where the demo puts them."""

import numpy as np
import pytest
import torch

from framework.errors import UserError
from framework.jobs.clips import shown_steps, walk_latents
from framework.jobs.demo import numbered_folder
from framework.jobs.models import render, seed_latents
from framework.jobs.requests.pictures import parse_seeds
from framework.media.images import to_uint8


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", [7]), ("1,2,5-8", [1, 2, 5, 6, 7, 8]), (" 3 , 9 - 9", [3, 9]), ("2,2", [2, 2])],
)
def test_seed_lists_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "1,", "5-3", "-1", "1-2-3", "4294967296", "0-99999", "1.5", "²"]
)
def test_what_is_no_seed_list_is_refused_by_name(text):
    with pytest.raises(UserError, match=r"^seeds "):
        parse_seeds(text)


def test_a_seed_means_what_it_means_to_nvidias_tools(tiny_generator):
    z = torch.from_numpy(np.random.RandomState(5).randn(1, tiny_generator.z_dim)).float()
    ws = tiny_generator.mapping(z, None, truncation_psi=0.5)
    assert torch.equal(seed_latents(tiny_generator, 5, psi=0.5), ws)
    image = to_uint8(tiny_generator.synthesis(ws, noise_mode="const"))[0]
    assert np.array_equal(render(tiny_generator, ws), image)


def test_a_walk_passes_through_its_latents_and_closes():
    keys = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    walk = torch.cat(list(walk_latents(keys, 10)))
    assert walk.shape == (30, 4, 5)
    assert torch.equal(walk[::10], keys)
    ring = torch.cat([walk, walk[:2]])
    jumps = (ring[1:] - ring[:-1]).norm(dim=(1, 2))
    turns = (ring[2:] - 2 * ring[1:-1] + ring[:-2]).norm(dim=(1, 2))
    assert turns.max() < 0.5 * jumps.max()  # no kink, not at the keys and not at the seam


def test_a_clip_takes_evenly_chosen_steps_of_a_long_drag():
    assert shown_steps(5) == [0, 1, 2, 3, 4]
    chosen = shown_steps(1000, at_most=100)
    assert len(chosen) == len(set(chosen)) == 100
    assert chosen[0] == 0 and chosen[-1] == 999


def test_a_numbered_folder_is_the_first_free_one(tmp_path):
    assert numbered_folder(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    assert numbered_folder(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a" / "x").write_text("")
    (tmp_path / "a-2").write_text("")
    assert numbered_folder(tmp_path / "a") == tmp_path / "a-3"
