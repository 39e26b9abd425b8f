"""StyleGAN2 as the drag sees it; dragging one is in test_drag_algorithm.py."""

import pytest

from framework.drag.settings import DragSettings
from framework.drag.stylegan2 import StyleGAN2
from framework.errors import UserError
from tests.drag.fakes import ShiftGenerator

SIZES = {5: (64, 64), 8: (512, 512), 9: (1024, 1024)}


def adapted(settings=None, blocks=8, num_ws=16):
    return StyleGAN2(ShiftGenerator(SIZES[blocks], num_ws), settings)


def test_features_are_those_of_the_sixth_block_or_the_last():
    assert adapted(blocks=9).resolution == 128
    assert adapted(blocks=5).resolution == 64
    assert adapted(DragSettings(feature_resolution=32)).resolution == 32
    with pytest.raises(
        UserError, match=r"feature_resolution 256: this model has 4, 8, 16, 32, 64;"
    ):
        adapted(DragSettings(feature_resolution=256), blocks=5)


def test_all_latents_move_in_w_and_the_first_six_in_w_plus():
    assert adapted().layers == 6
    assert adapted(num_ws=4).layers == 4
    assert adapted(DragSettings(latent_space="w")).layers == 16
