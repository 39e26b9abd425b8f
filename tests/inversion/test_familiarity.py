"""Whether a picture is of a model's kind: with the shipped model of drawings."""

import numpy as np
import pytest
import torch

from framework import load_discriminator, load_generator
from framework.data.toycars import ToyCars
from framework.inversion.familiarity import FAMILIAR, familiarity
from framework.media.images import to_float
from framework.models.features.distance import DiscriminatorDistance
from framework.models.stylegan2 import Discriminator
from tests.inversion.small import small_generator


@pytest.fixture(scope="module")
def toycars():
    return familiarity(
        load_generator("toycars64"), DiscriminatorDistance(load_discriminator("toycars64"))
    )


def pictures_of(model, count):
    generator = load_generator(model)
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return generator.synthesis(generator.mapping(z), noise_mode="const")


# A10f
def test_pictures_of_the_models_kind_are_familiar_and_others_are_not(toycars):
    drawn = ToyCars(64, seed=7)  # other drawings than those of its training
    kind = to_float(np.stack([drawn.image(index) for index in range(24)]))
    assert (toycars.strangeness(kind) > FAMILIAR).sum() <= 2
    assert toycars.strangeness(pictures_of("toycars64", 24)).median() == pytest.approx(1, abs=0.25)
    noise = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain = torch.zeros(1, 3, 64, 64)
    for other in (pictures_of("vehicles64", 24), noise, plain):
        assert (toycars.strangeness(other) > FAMILIAR).all()


def test_the_yardstick_is_the_same_every_time_and_takes_no_luck_from_others():
    torch.manual_seed(3)
    generator = small_generator()
    distance = DiscriminatorDistance(Discriminator((16, 16), channel_base=128, channel_max=8))
    before = torch.random.get_rng_state()
    made = [familiarity(generator, distance) for _ in "ab"]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert made[0].usual == made[1].usual > 0
    assert torch.equal(made[0].precision, made[1].precision)
