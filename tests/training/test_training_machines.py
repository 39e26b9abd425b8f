"""Several machines train as one process does, and outlive the loss of one of them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from framework.formats.run_checkpoint import checkpoint_path, latest_whole, read_checkpoint
from framework.training.network import choose_interface, interface_to
from tests.training.machines import ADDRESSES, Machine, two_machines, why_not
from tests.training.processes import finish, start

CONFIG = Path("configs/train/stylegan2/multi_node.yaml").resolve()
TINY = (
    "--data.source", "toycars:24", "--data.size", "16", "--data.batch_size", "4",
    "--model.micro_batch", "2", "--model.networks.mbstd_group_size", "2",
    "--model.networks.z_dim", "8", "--model.networks.w_dim", "8",
    "--model.networks.mapping_layers", "2", "--model.networks.channel_base", "64",
    "--model.networks.channel_max", "8", "--model.machine.low_precision", "none",
    "--run.tick_kimg", "0.004", "--run.checkpoint_kimg", "0.008", "--run.wandb", "disabled",
    "--trainer.accelerator", "cpu", "--trainer.devices", "1",
)  # fmt: skip


def line(run_dir: Path, kimg: float, disk: Path) -> list[str]:
    """The command line of a tiny run by `multi_node.yaml`."""
    own = ("--run.dir", str(run_dir), "--run.kimg", f"{kimg:g}", "--data.cache", str(disk))
    return ["fit", "--config", str(CONFIG), *TINY, *own]


def launch(machines: tuple[Machine, Machine], words: list[str], logs: list[Path]):
    """Start `torchrun` on each machine, as the file says."""
    there = ("--nnodes", "2", "--nproc_per_node", "1")
    meet = ("--master_addr", ADDRESSES[0], "--master_port", "29500")
    torchrun = (sys.executable, "-m", "torch.distributed.run")
    return [
        subprocess.Popen(
            machine.command(*torchrun, *there, "--node_rank", str(i), *meet, "train.py", *words),
            stdout=log.open("ab"), stderr=subprocess.STDOUT,
        )
        for i, (machine, log) in enumerate(zip(machines, logs, strict=True))
    ]  # fmt: skip


def run_of(nodes: int) -> SimpleNamespace:
    """A trainer whose first machine is this one."""
    environment = SimpleNamespace(main_address="127.0.0.1")
    strategy = SimpleNamespace(cluster_environment=environment)
    return SimpleNamespace(num_nodes=nodes, strategy=strategy)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says which interface leads where")
def test_gloo_listens_where_the_first_machine_can_be_reached(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")  # so that it is as before afterwards
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    choose_interface(run_of(1))
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    choose_interface(run_of(2))
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "mine")
    choose_interface(run_of(2))
    assert os.environ["GLOO_SOCKET_IFNAME"] == "mine"
    assert interface_to("no host has such a name") is None


# D10
@pytest.mark.slow
def test_two_machines_come_to_what_one_process_comes_to_though_one_crashes(tmp_path, monkeypatch):
    if lack := why_not():
        pytest.skip(lack)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_dir, disk = tmp_path / "seen-by-both", tmp_path / "disk"
    logs = [tmp_path / f"log{i}" for i in range(2)]
    with two_machines(disk) as machines:
        jobs = launch(machines, line(run_dir, 1000, disk), logs)
        while latest_whole(run_dir) is None:
            assert jobs[0].poll() is None, logs[0].read_text()
            time.sleep(0.05)
        machines[1].crash()
        assert jobs[0].wait() != 0
        errors = [said for said in logs[0].read_text().splitlines() if said.startswith("error: ")]
        assert len(errors) == 1 and "another process of this run is gone" in errors[0]
        cached = [subprocess.check_output(m.command("ls", str(disk))) for m in machines]
        assert all(cached) and not os.listdir(disk)  # each on its own disk, unseen from here

        kept = latest_whole(run_dir)
        assert kept is not None
        done = read_checkpoint(kept)["dragline"]["seen_images"]
        images = done + 16
        again = [tmp_path / f"again{i}" for i in range(2)]
        jobs = launch(machines, line(run_dir, images / 1000, disk), again)
        assert [job.wait() for job in jobs] == [0, 0], again[0].read_text()
        assert f"training from {done / 1000:g} to {images / 1000:g} kimg" in again[0].read_text()
        assert "training from" not in again[1].read_text()

    alone = tmp_path / "alone"
    one = ("--trainer.num_nodes", "1", "--trainer.strategy", "auto")
    words = [*line(alone, images / 1000, tmp_path / "cache"), *one]
    assert finish(start(words, tmp_path / "log")) == 0
    a, b = (read_checkpoint(checkpoint_path(f, images))["state_dict"] for f in (alone, run_dir))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, atol=2e-5, rtol=1e-4, msg=name)
