"""Which settings hold."""

from pathlib import Path

import pytest

from framework.drag.settings import DragSettings
from framework.inversion.settings import STEPS_FROM_MEAN, InversionSettings, RefineSettings
from framework.jobs.requests.drag import DragRequest
from framework.jobs.requests.invert import InversionChoice
from framework.jobs.settings import drag_settings, inversion_settings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(("asked", "preset"), [("auto", "dragline"), ("small", "small")])
def test_auto_takes_the_default_preset_and_says_so(asked, preset):
    request = DragRequest(out="o", model="m", seed=1, points="1,1:2,2", preset=asked)
    settings, origin = drag_settings(request)
    assert settings == DragSettings.preset(preset) and origin == f"preset {preset}"


def test_more_steps_where_there_is_no_encoder():
    assert inversion_settings(InversionChoice(), True, False).refine == RefineSettings()
    blind = inversion_settings(InversionChoice(), False, False).refine
    assert blind == RefineSettings(steps=STEPS_FROM_MEAN)
    assert inversion_settings(
        InversionChoice(refine_steps=5), False, False
    ).refine == RefineSettings(steps=5)
    looks = [inversion_settings(InversionChoice(), True, again).embed for again in (False, True)]
    assert [look.iterations for look in looks if look] == [1, 5]


def test_the_shipped_settings_are_the_defaults_for_a_model_with_an_encoder():
    shipped = InversionChoice(config=str(CONFIGS / "edit" / "invert" / "default.yaml"))
    assert inversion_settings(shipped, True, False) == InversionSettings().suited(True)
