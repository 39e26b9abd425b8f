"""Noise schedules against diffusers' own, and the formulas against each other."""

import pytest
import torch
from diffusers import DDIMScheduler

from framework.errors import UserError
from framework.models.diffusion.sampling import sample
from framework.models.diffusion.schedule import Schedule, min_snr_weight, schedule_of
from framework.models.diffusion.unet import cell_side, to_cells, to_pictures

STABLE = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "set_alpha_to_one": False, "steps_offset": 1,
    "clip_sample": False, "prediction_type": "epsilon", "timestep_spacing": "leading",
}  # fmt: skip
COSINE = {
    "num_train_timesteps": 200, "beta_schedule": "squaredcos_cap_v2", "clip_sample": True,
    "rescale_betas_zero_snr": True, "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}  # fmt: skip
LINEAR = {"beta_schedule": "linear", "prediction_type": "sample", "timestep_spacing": "linspace",
          "clip_sample": False}  # fmt: skip


@pytest.mark.parametrize("config", [STABLE, COSINE, LINEAR])
def test_a_schedule_and_its_steps_are_diffusers(config):
    ours, theirs = schedule_of(config), DDIMScheduler(**config)
    assert torch.allclose(ours.alphas_bar, theirs.alphas_cumprod, atol=2e-6)
    theirs.set_timesteps(20)
    assert ours.timesteps(20)[::-1] == theirs.timesteps.tolist()


@pytest.mark.parametrize("config", [STABLE, {**COSINE, "clip_sample": False}])
def test_a_step_is_that_of_diffusers(config):
    ours, theirs = schedule_of(config), DDIMScheduler(**config)
    theirs.set_timesteps(20)
    x, output = torch.randn(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    times = ours.timesteps(20)
    for place in (0, 7, 19):
        to = times[place - 1] if place else None
        expected = theirs.step(output, times[place], x).prev_sample
        assert torch.allclose(ours.step(x, output, times[place], to), expected, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_what_is_predicted_gives_picture_and_noise_back(prediction):
    schedule = Schedule(torch.linspace(0.99, 0.01, 50), prediction)
    x0, noise = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0, 5, 10, 20, 40, 49])
    output = {
        "epsilon": noise, "v_prediction": schedule.velocity(x0, noise, t), "sample": x0
    }[prediction]  # fmt: skip
    found = schedule.estimates(schedule.noised(x0, noise, t), output, t)
    assert torch.allclose(found[0], x0, atol=1e-4) and torch.allclose(found[1], noise, atol=1e-4)


def test_the_weights_of_all_predictions_mean_the_same_error_of_the_picture():
    """An error of v is (snr + 1) as large as that of the picture, of noise snr as large."""
    snr = torch.tensor([0.01, 1.0, 4.0, 5.0, 80.0])
    of_picture = min_snr_weight(snr, 5.0, "sample")
    assert of_picture.tolist() == pytest.approx([0.01, 1, 4, 5, 5])
    assert torch.allclose(min_snr_weight(snr, 5.0, "v_prediction") * (snr + 1), of_picture)
    assert torch.allclose(min_snr_weight(snr, 5.0, "epsilon") * snr, of_picture)


def test_a_network_that_knows_the_picture_is_sampled_to_it():
    schedule = schedule_of(COSINE)
    picture = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1

    def predict(x, t):
        alpha_bar = schedule.alpha_bar(t, x)
        noise = (x - alpha_bar.sqrt() * picture) / (1 - alpha_bar).sqrt()
        return schedule.velocity(picture, noise, t)

    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(sample(predict, schedule, noise, 8), picture, atol=1e-4)


def test_cells_and_back():
    pictures = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    cells = to_cells(pictures, 2)
    assert cells.shape == (2, 12, 2, 3) and torch.equal(to_pictures(cells, 2), pictures)
    assert [cell_side(n) for n in (3, 12, 48, 4, 9)] == [1, 2, 4, None, None]


@pytest.mark.parametrize(
    ("config", "about"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid'"),
        ({"prediction_type": "flow"}, "prediction_type 'flow'"),
        ({"timestep_spacing": 3}, "timestep_spacing"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps"),
        ({"beta_start": -1}, "beta_start"),
        ({"rescale_betas_zero_snr": True}, "no picture is in it"),
    ],
)
def test_a_schedule_of_another_kind_is_named(config, about):
    """C21f."""
    with pytest.raises(UserError, match=about):
        schedule_of(config)


def test_more_steps_than_there_are_is_named():
    with pytest.raises(UserError, match="200 time steps"):
        schedule_of(COSINE).timesteps(201)
