"""Settings of a run: every number has its range, every setting its one place and its flag."""

from dataclasses import fields

import numpy as np
import pytest

from framework.errors import UserError
from framework.settings import Settings
from framework.training.encoder.settings import EncoderSettings
from framework.training.settings import TrainingGroup, TrainingSettings
from framework.training.stylegan2.settings import StyleGAN2Settings

KINDS: list[type[TrainingSettings]] = [StyleGAN2Settings, EncoderSettings]
PARTS: list[TrainingGroup] = [
    part for kind in KINDS for part in (kind(), *kind().arguments().values())
    if isinstance(part, TrainingGroup)
]  # fmt: skip
NUMBERS = [
    (type(part), f.name) for part in PARTS for f in fields(part)
    if "int" in str(f.type) or "float" in str(f.type)
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_no_number_may_be_anything(kind, name):
    field = f"{kind.group}.{name}" if kind.group else name
    for bad in (True, "8", float("nan"), -2, 10**400, complex(8)):
        with pytest.raises(UserError) as error:
            kind(**{name: bad})
        assert str(error.value).startswith(f"{field} ") and "\n" not in str(error.value)


def test_numpys_numbers_become_pythons():
    assert type(StyleGAN2Settings(seed=np.int64(3)).seed) is int  # type: ignore[arg-type]
    assert type(EncoderSettings(lr=np.float32(0.5)).lr) is float  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_one_place(kind):
    names = kind.names()
    assert len(names) == len(set(names)) > 30
    groups = {f.name: f.default for f in fields(kind) if isinstance(f.default, Settings)}
    assert all(default.group == name for name, default in groups.items())
    flat = {name: object() for name in names}
    grouped = kind.grouped(flat)
    assert kind.grouped(grouped) == grouped and set(grouped) == {f.name for f in fields(kind)}
    for name in names:
        *group, last = kind.flag(name).removeprefix("--model.").split(".")
        assert last == name and (grouped[group[0]] if group else grouped)[name] is flat[name]
