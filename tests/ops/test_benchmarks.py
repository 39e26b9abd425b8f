"""The benchmarks run: small, and a GPU's without one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import drag_step, encoder_step, ops, step_worker, train_step  # noqa: E402
from framework.ops import compiled  # noqa: E402


def gpu_sh(out, python):
    return subprocess.run(
        ["bash", ROOT / "benchmarks" / "gpu.sh", out],
        env=os.environ | {"PYTHON": str(python), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_without_a_gpu_its_benchmarks_say_so_in_a_line(tmp_path):
    done = gpu_sh(tmp_path / "out", sys.executable)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "no CUDA device" in done.stderr
    assert not (tmp_path / "out").exists()


PYTHON = """#!/bin/sh
case "$1 $2" in
  -c*) exit 0 ;;
  benchmarks/collect.py*) exec {python} "$@" ;;
  -m*) echo "7 passed" ;;
  edit.py*) echo "Error: nothing to drag"; exit 1 ;;
  *) printf '| images/s | factor |\\n|---|---|\\n| ours | 2.00x |\\n'
     for last; do :; done
     case "$last" in *.json) echo '{{"rows": [1]}}' > "$last" ;; esac ;;
esac
"""


def test_a_gpus_benchmarks_become_one_file_and_one_page_whatever_fails(tmp_path):
    python, out = tmp_path / "python", tmp_path / "out"
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    done = gpu_sh(out, python)
    assert done.returncode == 1, done.stderr
    held = json.loads((out / "gpu.json").read_text())
    assert held["machine"]["torch"] and list(held["parts"])[:4] == [
        "tests",
        "ops",
        "step256",
        "step512",
    ]
    assert held["parts"]["step256"]["numbers"] == {"rows": [1]}
    page = (out / "gpu.md").read_text()
    assert "| tests | passed |" in page and "7 passed" in page
    assert "| drag | failed (1) |" in page and "nothing to drag" in page
    assert page.count("| ours | 2.00x |") >= 3


@pytest.mark.usefixtures("cpu_ops")
def test_operations_side_by_side(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(ops.SETS, "vehicles64", (2, 2, {8: 4}))
    monkeypatch.setattr(sys, "argv", [
        "ops.py", "--sets", "vehicles64", "--threads", "1", "--rounds", "1",
        "--json", str(tmp_path / "ops.json"),
    ])  # fmt: skip
    ops.main()
    rows = json.loads((tmp_path / "ops.json").read_text())["rows"]
    assert len(rows) == 2 * 6 + 1
    assert all(ms > 0 for row in rows for kind in row["ms"].values() for ms in kind.values())
    printed = capsys.readouterr().out
    assert printed.count("| upfirdn2d |") == 2 * 3 + 1 + 2 and "×) |" in printed


@pytest.mark.parametrize("variant", ["reference", "published", "ours"])
def test_variants_compute_the_phases_of_a_training_step(variant, monkeypatch):
    monkeypatch.setattr(sys, "argv", [
        "train_step.py", "--img-size", "16", "--batch", "4", "--latent", "8",
        "--channel-base", "64", "--pl-weight", "2",
    ])  # fmt: skip
    args = train_step.arguments()
    choice = {k: v for k, v in train_step.VARIANTS[variant].items() if k not in ("malloc", "ops")}
    monkeypatch.setattr(step_worker, "use_plain_operations", lambda *networks: None)
    step = step_worker.Step(args, **choice | {"low": "none"})
    assert {"Gmain", "Gpl", "Dmain", "Dr1"} <= set(step.phases)
    for phase in step.phases.values():
        before = [p.detach().clone() for p in phase.network.parameters()]
        step.run(phase.name)
        changed = [not p.equal(b) for p, b in zip(phase.network.parameters(), before, strict=True)]
        assert sum(changed) > len(changed) / 2


def test_plain_operations_keep_the_networks_values(monkeypatch):
    from framework.models.stylegan2 import Discriminator, Generator, generator, layers
    from framework.ops import upfirdn2d

    for owner, name in [
        (generator.SynthesisLayer, "forward"),
        (layers.Conv2dLayer, "forward"),
        (upfirdn2d._Filter, "apply"),
    ]:
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back afterwards
    sizes = {"img_size": 16, "channel_base": 64, "channel_max": 8, "conv_clamp": 256.0}
    networks = Generator(**sizes, z_dim=8, w_dim=8), Discriminator(**sizes)
    forward = generator.SynthesisLayer.forward
    step_worker.use_plain_operations(*networks)  # compares the networks before and after
    assert generator.SynthesisLayer.forward is not forward


def test_images_per_second_count_lazy_phases_once_in_their_interval():
    speed = train_step.per_image({"Gmain": 2.0, "Dr1": 8.0}, {"Gmain": 1, "Dr1": 16}, 10)
    assert speed == {"Gmain": 5.0, "Dr1": 1.25, "step": 4.0}


def test_variants_name_only_choices_that_there_are():
    keys = set(train_step.REFERENCE)
    assert all(set(choice) == keys for choice in train_step.VARIANTS.values())
    assert {name for names in train_step.USUAL.values() for name in names} <= set(
        train_step.VARIANTS
    )
    assert isinstance(step_worker.missing("float16", "cpu"), str)
    assert step_worker.missing("none", "cpu") is None


@pytest.fixture
def drag_step_arguments(monkeypatch):
    """Small networks; what the benchmark counts passes with is undone."""
    for owner, name in ((torch.autograd, "grad"), (torch.Tensor, "backward")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(drag_step, "tune_malloc", lambda: None)
    monkeypatch.setattr(drag_step, "WAY", 0.4)  # too far for untrained networks of this size
    monkeypatch.setattr(drag_step, "peak_flops", lambda *_: 1e9)
    monkeypatch.setattr(sys, "argv", [
        "drag_step.py", "--channel-base", "256", "--latent", "16", "--b64", "--steps", "2",
    ])  # fmt: skip
    return drag_step.arguments()


@pytest.mark.parametrize("row", [*drag_step.ROWS, "draggan b64"])
def test_every_row_of_a_drags_step_is_measured(row, drag_step_arguments):
    assert row in drag_step.rows_of(drag_step_arguments)
    drag_step_arguments.serve = json.dumps([row, 32])
    facts = drag_step.serve(drag_step_arguments)
    assert facts["sec"] > 0 and facts["gflop"] > 0 and facts["memory_gb"] > 0
    if row == "dragline":
        assert facts["forward"] >= 1 and facts["backward"] >= 2 and "px left" in facts["end"]
    else:
        each = 0.25 if row == "4 at once" else 1.0
        assert (facts["forward"], facts["backward"], facts["end"]) == (each, each, "")


def test_the_rows_take_the_same_steps(drag_step_arguments):
    rows = ("straightforward", "draggan", "4 at once")
    found = []
    for name in rows:
        _, steps = drag_step.stream(drag_step_arguments, drag_step.Row.named(name), 32)
        for _ in range(3):
            state = next(steps)
        found.append(getattr(state, "ws", state)[:1])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=1e-4)


def test_an_encoders_step_is_measured_in_every_precision(monkeypatch, capsys):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(compiled, "use_ops", lambda ops, device: None)  # they stay for a process
    encoder_step.main(["--batch", "2", "--rounds", "1"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[-4:]]
    assert [(row[0].strip("| "), row[1]) for row in rows] == list(encoder_step.VARIANTS)
    assert all(float(row[2]) > 0 and float(row[4].strip("| ")) > 0.99 for row in rows)
