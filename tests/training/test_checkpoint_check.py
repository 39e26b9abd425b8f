"""Whatever stands in a checkpoint instead of what a run saves is told in one line, before any use.

Row B1f of docs/reliability.md; compiled optimizers trust a tensor's size: a wrong one is a crash.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.errors import BrokenCheckpoint, UserError
from framework.formats.run_checkpoint import (
    check_description,
    checkpoint_path,
    read_checkpoint,
    write_checkpoint,
)
from framework.training.callbacks import RunCheckpoints
from framework.training.checkpoint_check import LAYOUT
from framework.training.phased import PhasedTraining, _resumed_state
from tests.training.processes import contents
from tests.training.test_faults_saving import refused
from tests.training.tiny import tiny_data, tiny_module, train
from tests.training.tiny_encoder import EVERYTHING, tiny_encoder, tiny_model, tiny_pictures

Check = Callable[[dict[str, Any]], None]


def trained(module: PhasedTraining, data: Any, folder: Path) -> tuple[dict[str, Any], Check]:
    """A checkpoint of a module after three batches, and what looks at others."""
    trainer = train(module, 12, data, (RunCheckpoints(folder, 1, 1, keep=1),))  # type: ignore[arg-type]
    twin = module.twin(module.identity(), data)
    checkpoint = read_checkpoint(checkpoint_path(folder, 12))

    def check(held: dict[str, Any]) -> None:
        check_description(held, folder)
        twin.check_checkpoint(held, trainer, data)

    return checkpoint, check


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[dict[str, Any], Check]]:
    folder = tmp_path_factory.mktemp("checked")
    generator = tiny_module(pl_weight=2.0, pl_interval=2, lecam_weight=0.3, augment="ada")
    encoder = tiny_encoder(tiny_model(folder / "model"), **EVERYTHING)
    return {
        "generator": trained(generator, tiny_data(), folder / "generator"),
        "encoder": trained(encoder, tiny_pictures(), folder / "encoder"),
    }


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every tensor, plain value and empty table, with its place."""
    items = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list | tuple) else ()
    )  # fmt: skip
    if path and path[-1] == LAYOUT:
        return
    if not items:
        yield path, value
    for name, item in items:
        yield from leaves(item, (*path, name))


def changed(value: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy in which `change(table, name)` was made at `path`; all else is shared."""
    copy = value.copy() if isinstance(value, dict) else list(value)
    if len(path) == 1:
        change(copy, path[0])
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], change)
    return tuple(copy) if isinstance(value, tuple) else copy


def replaced(checkpoint: dict[str, Any], path: tuple[Any, ...], wrong: Any) -> dict[str, Any]:
    return changed(checkpoint, path, lambda table, name: table.__setitem__(name, wrong))


def wrong_for(value: Any) -> list[Any]:
    """What could stand there instead; nothing of it may be used."""
    if not isinstance(value, torch.Tensor):
        wrong: list[Any] = [torch.zeros(3), {"a": 1}, b"bytes"]
        if isinstance(value, bool | int):
            wrong += [-5, 10**30, "3", 1.5, float("nan")]
        if isinstance(value, float):
            wrong += [float("nan"), float("inf"), -1.0, "0.5", None]
        return wrong
    wrong = [
        value.new_zeros((*value.shape, 2)), value.to(torch.int8), value.to("meta"),
        torch.nn.Parameter(value.float()), None, "tensor", [1.0],
    ]  # fmt: skip
    if value.ndim:
        wrong += [value.to_sparse(), value[:1]]
    if value.numel() > 1:
        wrong += [value.as_strided(value.shape, [0] * value.ndim)]
    if value.is_floating_point():
        wrong += [value.double(), torch.full_like(value, torch.nan)]
    return [w for w in wrong if not (isinstance(w, torch.Tensor) and same(w, value))]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether nothing was changed after all, as in a tensor with one element."""
    facts = [(type(t), t.dtype, t.shape, t.layout, t.device) for t in (a, b)]
    return facts[0] == facts[1] and a.stride() == b.stride() and torch.equal(a, b)


def without_layout(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """As older runs are, which did not say how they are laid out."""
    return changed(checkpoint, ("dragline", LAYOUT), lambda table, name: table.pop(name))


# Of older runs nobody can tell whether these were so: they are not used. The others are printed.
UNUSED = {"low_precision", "low_precision_blocks", "conv_clamp", "perceptual", "similarity"}
PRINTED = {"pictures", "generator_name"}


@pytest.mark.parametrize(
    ("kind", "older", "every"),
    [("generator", True, 1), ("generator", False, 5), ("encoder", True, 7)],
)
def test_each_leaf_in_turn_replaced_by_something_wrong_is_one_line(runs, kind, older, every):
    """B1f: by turns out of all that is wrong there; older runs have no digest of their layout."""
    checkpoint, check = runs[kind]
    checkpoint = without_layout(checkpoint) if older else checkpoint
    check(checkpoint)
    accepted, turn = [], itertools.count()
    for path, value in itertools.islice(leaves(checkpoint), 0, None, every):
        if PRINTED & set(path) or (older and UNUSED & set(path)):
            continue
        wrong = wrong_for(value)
        bad = wrong[next(turn) % len(wrong)]
        try:
            check(replaced(checkpoint, path, bad))
            accepted.append((path, bad))
        except UserError as error:
            assert len(str(error)) < 1000, path
    assert not accepted


def test_what_is_missing_or_added_is_one_line(runs):
    """B1f: every name of every table."""
    checkpoint, check = runs["generator"]
    places = {path[:end] for path, _ in leaves(checkpoint) for end in range(1, len(path) + 1)}
    for path in sorted(places, key=str):
        if not isinstance(at(checkpoint, path[:-1]), dict):
            continue
        with pytest.raises(UserError):
            check(changed(checkpoint, path, lambda table, name: table.pop(name)))
    for path in {path[:-1] for path in places}:
        if isinstance(at(checkpoint, path), dict):
            added = (*path, "more")
            with pytest.raises(UserError):
                check(changed(checkpoint, added, lambda table, name: table.update({name: 1})))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def test_counts_that_cannot_be_are_refused_by_their_value(runs):
    """B1f: also where their kind is right."""
    checkpoint, check = runs["generator"]
    adam = ("optimizer_states", 0)
    first = next(iter(checkpoint["optimizer_states"][0]["state"]))
    moment = checkpoint["optimizer_states"][0]["state"][first]["exp_avg_sq"]
    for path, wrong, words in (
        (("dragline", "seen_images"), -5, "seen_images is -5"),
        (("dragline", "seen_images"), 10**30, "seen_images is 1000"),
        (("dragline", "seen_images"), 0, "no number of whole batches"),
        (("dragline", "seen_images"), 13, "no number of whole batches"),
        ((*adam, "param_groups", 0, "betas"), (0.0, float("nan")), "betas is nan"),
        ((*adam, "param_groups", 0, "eps"), float("inf"), "eps is inf"),
        ((*adam, "param_groups", 0, "params"), [0] * 42, "params is list"),
        ((*adam, "param_groups", 0, "amsgrad"), True, "amsgrad is True"),
        ((*adam, "state", first, "step"), torch.tensor(1e9), "step is 1e"),
        ((*adam, "state", first, "exp_avg_sq"), moment - 1, "negative squares"),
        (("callbacks",), {"Other": {"a": 1}}, "callbacks holds something"),
    ):
        with pytest.raises(BrokenCheckpoint, match=words) as caught:
            check(replaced(without_layout(checkpoint), path, wrong))
        assert "delete this checkpoint" in str(caught.value)


def test_an_optimizers_memory_is_its_own_and_laid_out_as_its_parameter(runs):
    """B1f: a fused step goes through both in the order of memory."""
    parameter = torch.nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
    adam = torch.optim.Adam([parameter], lr=0.5, fused=True)
    moment = torch.arange(24.0).view(2, 3, 2, 2)
    state = {"step": torch.tensor(3.0), "exp_avg": moment, "exp_avg_sq": moment}
    held = {"state": {0: state}, "param_groups": [{"lr": 9.0}]}
    (taken,) = _resumed_state(held, adam)["state"].values()
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(taken[name], moment) and taken[name].stride() == parameter.stride()
    assert len({value.data_ptr() for value in (*taken.values(), moment)}) == 4
    assert _resumed_state(held, adam)["param_groups"][0]["lr"] == 0.5


def damaged(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a checkpoint and write it again, its manifest with it."""
    held = read_checkpoint(path)
    change(held)
    write_checkpoint(held, path)


def swap_moment(held: dict[str, Any]) -> None:
    state = held["optimizer_states"][1]["state"][0]
    state["exp_avg"] = torch.zeros(2, dtype=torch.int8)
    del held["dragline"][LAYOUT]


def test_a_wrong_checkpoint_ends_the_command_and_nothing_is_written(begun):
    """B1f: exit code 2 and one line that says where and what to do."""
    path = checkpoint_path(begun, 8)
    damaged(path, swap_moment)
    before = contents(begun)
    line = refused(begun)
    assert f"{path}: optimizer_states/1/state/0/exp_avg is a tensor int8 [2], not a tensor" in line
    assert "delete this checkpoint" in line and contents(begun) == before


def lose_the_networks(held: dict[str, Any]) -> None:
    held["dragline"]["generator"] = {"img_size": "large"}


def test_a_checkpoint_that_names_no_networks_is_one_line(begun):
    """B1f: sizes that are left open are those of the run."""
    damaged(checkpoint_path(begun, 8), lose_the_networks)
    before = contents(begun)
    assert "run-00000000008.ckpt" in refused(begun) and contents(begun) == before


def test_a_checkpoint_that_could_not_be_read_gives_no_advice_to_run_it(tmp_path):
    """B1f: torch's own message is how to switch safety off."""
    path = tmp_path / "run-00000000004.ckpt"
    write_checkpoint({"dragline": {"format": 1}, "evil": partial(print, "run")}, path)
    with pytest.raises(BrokenCheckpoint, match="not a readable checkpoint") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value) and "option" not in str(caught.value)
