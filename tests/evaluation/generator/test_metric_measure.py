"""A whole measurement: what is computed once, shared by processes, and said about each number."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from framework.data import ImageDataset, open_dataset
from framework.errors import UserError
from framework.evaluation.generator import measure as measuring
from framework.evaluation.generator.features import (
    DiscriminatorFeatures,
    FeatureNetwork,
    Networks,
    block_distance,
)
from framework.evaluation.generator.measure import MetricSettings, Report, check_fit, draw, measure
from framework.evaluation.generator.ppl import path_lengths, trimmed_mean
from framework.evaluation.generator.real_statistics import cache_folder, chosen_reals, real_features
from framework.evaluation.generator.shares import Interrupted, ignore
from framework.models.stylegan2 import Discriminator, Generator
from tests.training.processes import finish, run

SIZES: dict[str, Any] = {"img_size": 16, "channel_base": 64, "channel_max": 8}
CPU = torch.device("cpu")


def generator(**sizes: Any) -> Generator:
    """An untrained one of a few hundred weights, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = Generator(**{**SIZES, "z_dim": 4, "w_dim": 4, "mapping_layers": 1, **sizes})
    for block in made.synthesis.blocks:
        for layer in (getattr(block, "conv0", None), block.conv1):
            if layer is not None:
                nn.init.constant_(layer.noise_strength, 0.3)
    return made.eval().requires_grad_(False)


class Counting(DiscriminatorFeatures):
    """Counts the pictures it looked at."""

    looked = 0

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Discriminator(**SIZES)
        super().__init__(network, "tiny")
        self.looked = 0

    def forward(self, pictures: Tensor) -> Tensor:
        self.looked += len(pictures)
        return super().forward(pictures)


def tiny_networks() -> Networks:
    features = Counting()
    return Networks(features, block_distance(features))


@pytest.fixture(scope="module")
def cars() -> ImageDataset:
    return open_dataset("toycars:40", size=16)


def settings(cache: Path, **changes: Any) -> MetricSettings:
    given = {"fakes": 30, "reals": 25, "ppl": 12, "batch": 8, "cache": str(cache), **changes}
    return MetricSettings(**given)


def run_measure(cars: ImageDataset, cache: Path, **changes: Any) -> Report:
    return measure(generator(), cars, tiny_networks(), settings(cache, **changes), CPU)


# --- the whole -------------------------------------------------------------------------------


def test_every_number_says_how_it_was_made(cars, tmp_path):
    report = run_measure(cars, tmp_path)
    assert set(report.numbers) == set(report.protocol) == {"kid_d", "pr_d", "swd", "ppl_d"}
    assert set(report.flat()) == {
        f"Metrics/{name}"
        for name in ("kid_d", "kid_d_ci95", "precision_d", "recall_d", "swd16", "swd_mean", "ppl_d")
    }
    assert not {"Metrics/kid", "Metrics/fid", "Metrics/ppl"} & set(report.flat())
    json.dumps(report.protocol)
    for kind, protocol in report.protocol.items():
        assert protocol["data"]["fingerprint"] == cars.fingerprint
        assert protocol["data"]["mirrored"] is False and protocol["seed"] == 0
        assert set(protocol["generator"]) >= {"sha256_of_weights", "truncation_psi", "noise"}
        if kind != "swd":
            network = protocol["features" if kind != "ppl_d" else "distance"]
            assert len(network["sha256_of_weights"]) == 64 and "16x16" in network["resize"]
    kid = report.protocol["kid_d"]
    assert (kid["reals"], kid["fakes"], kid["subset_size"]) == (25, 30, 25)
    assert report.protocol["swd"]["reals"] == report.protocol["swd"]["fakes"] == 25
    assert report.protocol["ppl_d"]["paths"] == 12


class Pooled(FeatureNetwork):
    """Stands for Inception."""

    suffix, num_features = "", 12

    def forward(self, pictures: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(pictures.float() / 255, 2).flatten(1)

    def protocol(self) -> dict[str, Any]:
        return {"network": "pooled"}


def test_with_inception_the_numbers_have_their_published_names(cars, tmp_path):
    report = measure(generator(), cars, Networks(Pooled(), None), settings(tmp_path), CPU)
    names = {"fid", "kid", "kid_ci95", "precision", "recall", "swd16", "swd_mean"}
    assert set(report.flat()) == {f"Metrics/{name}" for name in names}
    assert "biased" in report.protocol["fid"]["note"]
    assert report.protocol["fid"]["library"].startswith("torchmetrics ")


def test_measuring_twice_gives_the_same_and_touches_nothing(cars, tmp_path):
    made = generator(low_precision_blocks=1, low_precision="bfloat16")
    before = {name: value.clone() for name, value in made.state_dict().items()}
    rng = torch.random.get_rng_state()
    first = measure(made, cars, tiny_networks(), settings(tmp_path), CPU)
    assert measure(made, cars, tiny_networks(), settings(tmp_path), CPU) == first
    assert torch.equal(torch.random.get_rng_state(), rng)
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())
    assert made.synthesis.blocks[-1].dtype == torch.bfloat16
    assert measure(made, cars, tiny_networks(), settings(tmp_path, seed=1), CPU) != first


def test_path_length_can_be_left_out(cars, tmp_path):
    assert "ppl_d" not in run_measure(cars, tmp_path, ppl=0).numbers


def test_a_generator_of_other_pictures_is_a_mistake(cars):
    check_fit(generator(), cars, "it")
    with pytest.raises(UserError, match=r"it draws 32x32 px.*the pictures are 16x16 px"):
        check_fit(generator(img_size=32), cars, "it")
    with pytest.raises(UserError, match="4 pictures are too few"):
        check_fit(generator(), open_dataset("toycars:4", size=16), "it")


@pytest.mark.parametrize(("name", "value"), [("fakes", 4), ("reals", 0), ("ppl", -1), ("batch", 0)])
def test_impossible_counts_are_named(name, value):
    with pytest.raises(UserError, match=rf"--metrics\.{name} {value}: at least"):
        MetricSettings(**{name: value}).check()
    with pytest.raises(UserError, match=r"--metrics\.truncation_psi nan"):
        MetricSettings(truncation_psi=float("nan")).check()


# --- generated pictures ----------------------------------------------------------------------


class AsPixels(nn.Module):
    """Features that are the pictures themselves."""

    suffix, num_features = "_d", 3 * 16 * 16

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1).float()


def drawn(cars: ImageDataset, cache: Path, shown: int = 0, **changes: Any) -> tuple[Tensor, Tensor]:
    given = settings(cache, **changes)
    return draw(generator(), cars, AsPixels(), given, shown, CPU, ignore)


def test_pictures_do_not_depend_on_how_many_are_drawn_at_once(cars, tmp_path):
    eight, _ = drawn(cars, tmp_path, noise="const")
    five, _ = drawn(cars, tmp_path, noise="const", batch=5)
    assert (eight - five).abs().max() <= 1 and eight.std(dim=0).max() > 1
    noisy, _ = drawn(cars, tmp_path)
    assert (eight - noisy).abs().max() > 1


def test_the_pictures_that_are_shown_are_those_that_were_looked_at(cars, tmp_path):
    table, kept = drawn(cars, tmp_path, shown=11)
    assert kept.shape == (11, 3, 16, 16) and kept.dtype == torch.uint8
    assert torch.equal(kept.flatten(1).float(), table[:11])


def test_truncation_draws_pictures_together(cars, tmp_path):
    whole, _ = drawn(cars, tmp_path, noise="none")
    short, _ = drawn(cars, tmp_path, noise="none", truncation_psi=0.3)
    assert short.std(dim=0).mean() < whole.std(dim=0).mean() / 2


def test_labels_are_drawn_as_often_as_the_data_have_them(tmp_path):
    from framework.media.images import save_png

    for i in range(8):
        folder = tmp_path / ("rare" if i == 0 else "common")
        folder.mkdir(exist_ok=True)
        save_png(folder / f"{i}.png", np.full((16, 16, 3), 30 * i, np.uint8))
    data = open_dataset(tmp_path, use_labels=True)
    labels = measuring.drawn_labels(data, 400, 0, "fakes")
    assert labels.shape == (400, 2)
    assert labels[:, data.classes.index("rare")].mean().item() == pytest.approx(1 / 8, abs=0.05)


# --- real pictures, once -----------------------------------------------------------------------


def reals(network: FeatureNetwork, data: ImageDataset, folder: Path, **changes: Any) -> Tensor:
    given = {"count": 25, "seed": 0, "batch": 8, **changes}
    return real_features(
        network, data, given["count"], given["seed"], given["batch"], CPU, ignore, folder
    )


def test_features_of_real_pictures_are_computed_once(cars, tmp_path):
    first, second = Counting(), Counting()
    computed = reals(first, cars, tmp_path)
    assert first.looked == 25 and computed.shape == (25, first.num_features)
    assert torch.equal(reals(second, cars, tmp_path), computed) and second.looked == 0
    assert torch.equal(reals(second, cars, tmp_path, batch=3), computed) and second.looked == 0


@pytest.mark.parametrize("change", ["seed", "count", "data", "network"])
def test_another_protocol_is_another_computation(change, cars, tmp_path):
    before = reals(Counting(), cars, tmp_path)
    network = Counting(seed=1 if change == "network" else 0)
    data = open_dataset("toycars:40:7", size=16) if change == "data" else cars
    changes = {"seed": {"seed": 1}, "count": {"count": 24}}.get(change, {})
    after = reals(network, data, tmp_path, **changes)
    assert network.looked == len(after)
    assert after.shape != before.shape or not torch.equal(after, before)
    assert len(list(tmp_path.iterdir())) == 2


def spoil_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def spoil_values(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    tensors = load_file(path)
    tensors["features"][3, 1] += 1e-3
    save_file(tensors, path, metadata=facts)


@pytest.mark.parametrize("spoil", [spoil_bytes, spoil_values])
def test_a_spoilt_cache_is_noticed_and_mended(spoil, cars, tmp_path, capsys):
    whole = reals(Counting(), cars, tmp_path)
    (path,) = tmp_path.iterdir()
    spoil(path)
    network = Counting()
    assert torch.equal(reals(network, cars, tmp_path), whole) and network.looked == 25
    assert "computed again" in capsys.readouterr().err
    again = Counting()
    assert torch.equal(reals(again, cars, tmp_path), whole) and again.looked == 0


def test_a_cache_that_cannot_be_written_costs_only_time(cars, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert reals(Counting(), cars, tmp_path / "file" / "cache").shape[0] == 25
    assert "not kept" in capsys.readouterr().err


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dragline" / "features"


def test_real_pictures_are_chosen_at_random_and_once_each(cars):
    chosen = chosen_reals(cars, 25, 0)
    assert len(set(chosen)) == 25 and chosen != sorted(chosen)
    assert chosen_reals(cars, 10, 0) == chosen[:10] and chosen_reals(cars, 25, 1) != chosen
    assert sorted(chosen_reals(cars, 1000, 0)) == list(range(40))


# --- path length -----------------------------------------------------------------------------


class InW(nn.Module):
    """A generator as torchmetrics wants one: its inputs are styles, its pictures in [0, 255]."""

    def __init__(self, network: Generator, z: Tensor) -> None:
        super().__init__()
        self.network, self.z = network, iter(z)

    def sample(self, num_samples: int) -> Tensor:
        return self.network.mapping(next(self.z))

    def forward(self, ws: Tensor) -> Tensor:
        return (self.network.synthesis(ws, noise_mode="const") + 1) * 127.5


def test_path_length_is_torchmetrics():
    from torchmetrics.functional.image import perceptual_path_length

    from framework.training.randomness import keyed_generator

    network, distance = generator(), block_distance(Counting())
    lengths = path_lengths(network, distance, torch.zeros(20, 0), 0, 6, ignore)
    z = torch.randn(2, 20, network.z_dim, generator=keyed_generator("cpu", 0, "paths"))
    _, _, theirs = perceptual_path_length(
        InW(network, z),
        num_samples=20,
        epsilon=1e-4,
        resize=None,
        lower_discard=None,
        upper_discard=None,
        sim_net=distance,
    )
    torch.testing.assert_close(lengths, theirs, rtol=0.02, atol=0)
    assert lengths.min() > 0


def test_the_mean_leaves_out_the_outermost_percent():
    lengths = torch.arange(1000, dtype=torch.float64)
    lengths[-1] = 1e9
    assert trimmed_mean(lengths[torch.randperm(1000)]) == pytest.approx(
        np.mean(np.arange(9, 991)), abs=1
    )


# --- several processes, stopping -------------------------------------------------------------


def measure_together(out: str, cache: str, rank: int, world: int, port: str) -> None:
    """Measure as one of `world` processes, twice: without and with features kept."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    cars = open_dataset("toycars:40", size=16)
    # Only the first process sees the cache, as on machines without a common disk.
    folder = Path(cache) / str(rank)
    reports = [run_measure(cars, folder) for _ in range(2)]
    kept = [path.name for path in folder.glob("*")]
    facts = {"numbers": [report.flat() for report in reports], "kept": len(kept)}
    Path(f"{out}-{rank}.json").write_text(json.dumps(facts))
    torch.distributed.destroy_process_group()


def test_two_processes_measure_what_one_measures(cars, tmp_path):
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = str(opened.getsockname()[1])
    out, cache = str(tmp_path / "out"), str(tmp_path / "cache")
    pair = [run(measure_together, out, cache, rank, 2, port) for rank in range(2)]
    assert [finish(process) for process in pair] == [0, 0]
    alone = run_measure(cars, tmp_path / "alone").flat()
    first, second = (json.loads(Path(f"{out}-{rank}.json").read_text()) for rank in range(2))
    assert first["numbers"] == second["numbers"] == [pytest.approx(alone, rel=1e-6)] * 2
    assert (first["kept"], second["kept"]) == (1, 0)


def test_a_measurement_can_be_left_off_before_any_batch(cars, tmp_path):
    def stopped(at: float, folder: str) -> int:
        """Batches that were begun before the work was left off."""
        begun = 0

        def watch(text: str) -> None:
            nonlocal begun
            if begun == at:
                raise Interrupted
            begun += 1

        given = settings(tmp_path / folder)
        measure(generator(), cars, tiny_networks(), given, CPU, watch)
        return begun

    batches = stopped(float("inf"), "whole")
    assert batches == 4 + 4 + 2 + 2  # real, generated, two kinds of numbers, paths
    for at in range(batches):
        with pytest.raises(Interrupted):
            stopped(at, str(at))
