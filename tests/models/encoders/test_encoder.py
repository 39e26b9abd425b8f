"""Our own encoder: sizes, stages, statistics, residual correction."""

import json

import pytest
import torch

from framework.errors import UserError
from framework.formats import save_model_folder
from framework.models.encoders.dragline import Encoder, layer_maps
from framework.models.encoders.latent_discriminator import LatentDiscriminator
from framework.models.encoders.loading import encoder_weights
from framework.models.encoders.style_encoder import fitted, staged
from framework.models.stylegan2.statistics import StyleStatistics
from tests.inversion.small import small_encoder, small_generator


@pytest.mark.parametrize(
    ("img_size", "channels", "num_ws", "w_dim"),
    [
        ((8, 8), 4, 4, 16),
        ((16, 16), 19, 6, 64),
        ((64, 64), 3, 10, 128),
        ((32, 64), 1, 10, 20),
        ((192, 256), 3, 14, 24),
        ((112, 64), 3, 18, 512),
    ],
)
def test_any_size_gives_styles(img_size, channels, num_ws, w_dim):
    encoder = small_encoder(img_size, num_ws, in_channels=channels, w_dim=w_dim)
    ws = encoder(torch.randn(1, channels, *img_size))
    assert ws.shape == (1, num_ws, w_dim) and ws.dtype == torch.float32 and ws.isfinite().all()


@pytest.mark.parametrize("img_size", [(8, 8), (64, 64), (32, 64), (192, 256), (1024, 1024)])
def test_layers_read_the_map_of_their_resolution(img_size):
    generator = small_generator(img_size, channel_base=4, channel_max=1)
    synthesis, wanted = generator.synthesis, []
    for resolution, block in zip(synthesis.resolutions, synthesis.blocks, strict=True):
        wanted += [0 if resolution <= 8 else 1 if resolution <= 32 else 2] * block.num_conv
    assert layer_maps(generator.num_ws) == [*wanted, wanted[-1]]  # the last colour layer's


def test_the_split_of_1024_px_is_psps():
    assert layer_maps(18) == [0] * 3 + [1] * 4 + [2] * 11


def test_stage_0_is_one_style_for_all_layers():
    ws = small_encoder()(torch.randn(2, 3, 16, 16), stage=0)
    assert torch.equal(ws, ws[:, :1].expand_as(ws))


def test_a_stage_lets_so_many_layers_go_in_order():
    encoder, pictures = small_encoder(), torch.randn(2, 3, 16, 16)
    full = encoder(pictures)
    assert torch.equal(full, encoder(pictures, stage=5))
    for stage in range(6):
        ws = encoder(pictures, stage)
        assert torch.equal(ws[:, : stage + 1], full[:, : stage + 1])
        moved = (ws != ws[:, :1]).any(dim=2).sum(dim=1)
        assert moved.tolist() == [stage, stage]


def test_codes_are_the_first_style_and_distances_from_it():
    codes = torch.tensor([[[1.0], [10.0], [100.0]]])
    assert staged(codes, None).flatten().tolist() == [1, 11, 101]
    assert staged(codes, 1).flatten().tolist() == [1, 11, 1]


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("residual", [False, True])
def test_gradients_reach_every_parameter(norm, residual):
    encoder = small_encoder((32, 32), 10, norm=norm, residual=residual, blocks=2)
    pictures = torch.randn(4, 3, 32, 32)
    current = (torch.randn(4, 3, 32, 32), torch.randn(4, 10, 8)) if residual else None
    (encoder(pictures, current=current) * torch.randn(4, 10, 8)).sum().backward()
    without = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias that a normalisation of single channels removes again has no say; it is not there.
    assert [n for n in without if not (norm == "batch" and n.endswith("bias"))] == []


def test_every_parameter_is_used_at_every_stage():
    encoder = small_encoder((64, 64), 10)
    encoder(torch.randn(1, 3, 64, 64), stage=0).sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


@torch.no_grad()
def test_fine_layers_know_what_the_coarse_map_holds():
    encoder = small_encoder((64, 64), 10)
    pictures = torch.randn(2, 3, 64, 64)
    for lateral in encoder.laterals[1:]:  # what they add of their own
        lateral[1].weight.zero_()
    first, second = encoder.codes(pictures)
    assert (first != second).any(dim=1).all()


def test_an_untrained_encoder_is_near_the_mean_style_but_sees():
    encoder, statistics = small_encoder(), StyleStatistics(torch.randn(8), torch.rand(8) + 0.1)
    encoder.set_statistics(statistics)
    distance = statistics.deviations(encoder(torch.randn(4, 3, 16, 16)))
    assert (distance < 0.1).all() and (distance > 0).all() and distance.unique().numel() == 4


def test_offsets_are_in_standard_deviations():
    encoder, pictures = small_encoder(), torch.randn(1, 3, 16, 16)
    encoder.set_statistics(StyleStatistics(torch.zeros(8), torch.ones(8)))
    offsets = encoder(pictures)
    encoder.set_statistics(StyleStatistics(torch.full((8,), 3.0), torch.full((8,), 2.0)))
    torch.testing.assert_close(encoder(pictures), 3 + 2 * offsets)


def test_statistics_are_copied():
    encoder, statistics = small_encoder(), StyleStatistics(torch.zeros(8), torch.ones(8))
    encoder.set_statistics(statistics)
    statistics.w_avg.add_(1)
    assert not encoder.w_avg.any() and "w_avg" in encoder.state_dict()


def test_a_picture_does_not_depend_on_its_batch():
    encoder, pictures = small_encoder(), torch.randn(3, 3, 16, 16)
    alone = torch.cat([encoder(picture[None]) for picture in pictures])
    torch.testing.assert_close(encoder(pictures), alone, rtol=1e-5, atol=1e-6)


def test_it_learns_the_styles_of_a_few_pictures():
    encoder, pictures = small_encoder(), torch.randn(4, 3, 16, 16)
    wanted = encoder.w_avg + encoder.w_std * torch.randn(4, 6, 8)
    optimizer, losses = torch.optim.Adam(encoder.parameters(), 0.01), []
    for _ in range(60):
        loss = (encoder(pictures) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_other_sizes_are_resized_to_its_own():
    encoder, pictures = small_encoder(), torch.rand(1, 3, 40, 40)
    small = torch.nn.functional.interpolate(pictures, (16, 16), mode="bilinear", antialias=True)
    assert torch.equal(encoder(pictures), encoder(small))


def test_what_sticks_out_of_the_proportions_is_cut_off():
    square = torch.rand(1, 3, 64, 64)
    barred = square.clone()
    barred[:, :, :8] = barred[:, :, 56:] = -1
    assert torch.equal(fitted(square, (24, 32)), fitted(barred, (24, 32)))
    wide = torch.rand(1, 3, 12, 32)
    assert torch.equal(fitted(wide, (12, 12)), wide[:, :, :, 10:22])
    assert fitted(square, (64, 64)) is square


def test_a_residual_encoder_corrects_styles():
    encoder, pictures = small_encoder(residual=True), torch.randn(2, 3, 16, 16)
    seen, ws = torch.randn(2, 3, 16, 16), torch.randn(2, 6, 8)
    corrected = encoder(pictures, current=(seen, ws))
    shifted = encoder(pictures, current=(seen, ws + 1))
    torch.testing.assert_close(shifted, corrected + 1)
    assert not torch.equal(encoder(pictures, current=(-seen, ws)), corrected)
    assert not torch.equal(encoder(-pictures, current=(seen, ws)), corrected)
    change = encoder(pictures, 0, current=(seen, ws)) - ws
    torch.testing.assert_close(change, change[:, :1].expand_as(change))


def test_both_pictures_of_a_residual_encoder_start_with_the_same_say():
    encoder = Encoder((64, 64), 3, 10, 128, residual=True)
    # pixel_unshuffle keeps the parts of a channel together: 12 of the picture, 12 of the other.
    weight = encoder.stem.weight
    ratio = weight[:, :12].std() / weight[:, 12:].std()
    assert 0.8 < ratio < 1.25 and weight.std() < 0.2


@pytest.mark.parametrize(
    ("residual", "shape", "current", "word"),
    [
        (False, (1, 1, 16, 16), False, r"\(N, 3, H, W\)"),
        (False, (3, 16, 16), False, r"\(N, 3, H, W\)"),
        (False, (1, 3, 16, 16), True, "corrects nothing"),
        (True, (1, 3, 16, 16), False, "needs a reconstruction"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(residual, shape, current, word):
    encoder, pictures = small_encoder(residual=residual), torch.zeros(shape)
    with pytest.raises(UserError, match=word):
        encoder(pictures, current=(pictures, torch.zeros(1, 6, 8)) if current else None)


@pytest.mark.parametrize(
    "sizes",
    [
        {"img_size": (9, 9)}, {"w_dim": 0}, {"num_ws": 0}, {"in_channels": 0}, {"blocks": 0},
        {"channel_max": -1}, {"norm": "layer"},
    ],
)  # fmt: skip
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(UserError, match=next(iter(sizes))):
        small_encoder(**sizes)


def test_its_configuration_rebuilds_it():
    encoder = small_encoder((32, 64), 10, residual=True, norm="batch")
    again = Encoder(**json.loads(json.dumps(encoder.config)))
    again.load_state_dict(encoder.state_dict())
    assert again.config == encoder.config and again.img_size == (32, 64)


@pytest.mark.parametrize("residual", [False, True])
def test_encoders_of_the_shipped_models_are_small(tmp_path, residual):
    encoder = Encoder((64, 64), 3, 10, 128, residual=residual)
    assert 2.0e6 < sum(p.numel() for p in encoder.parameters()) < 2.8e6
    save_model_folder(tmp_path, small_generator(), encoder=encoder_weights(encoder), half=True)
    assert (tmp_path / "encoder.safetensors").stat().st_size < 6e6


def test_the_latent_discriminator_judges_each_style():
    torch.manual_seed(0)
    judge, ws = LatentDiscriminator(8), torch.randn(2, 6, 8)
    logits = judge(ws)
    assert logits.shape == (2, 6, 1)
    torch.testing.assert_close(logits[1, 4], judge(ws[1, 4]))
    assert sum(isinstance(m, torch.nn.Linear) for m in judge.modules()) == 4


def test_the_latent_discriminator_can_tell_two_clouds_apart():
    torch.manual_seed(0)
    judge = LatentDiscriminator(8)
    optimizer = torch.optim.Adam(judge.parameters(), 0.01)
    real, fake = torch.randn(64, 8), 2 * torch.randn(64, 8)
    for _ in range(100):
        loss = torch.nn.functional.softplus(torch.cat([-judge(real), judge(fake)])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (judge(real) > 0).float().mean() > 0.9 and (judge(fake) < 0).float().mean() > 0.9
