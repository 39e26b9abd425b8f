"""The number of threads and their spin: chosen by the work, unless the user chose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import framework
from framework import threads
from framework.models.stylegan2.work import synthesis_gflop

ROOT = Path(__file__).resolve().parent.parent
UNSET = {key: value for key, value in os.environ.items() if key not in threads.COUNTS}
UNSET = {key: value for key, value in UNSET.items() if key not in threads.SPINS}


@pytest.fixture
def told(monkeypatch) -> list[int]:
    """A machine of eight cores whose user set nothing; what torch was told."""
    calls: list[int] = []
    for name in (*threads.COUNTS, *threads.SPINS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    return calls


# E3f
@pytest.mark.parametrize(
    ("gflop", "cores", "count", "why"),
    [
        (0.19, 2, 1, "a step of 0.19 GFLOP is worth no more"),
        (3.0, 2, 2, "there are 2 to use"),
        (225, 8, 8, "there are 8 to use"),
        (3.7, 8, 3, "a step of 3.7 GFLOP is worth no more"),
        (225, 1, 1, "there is 1 to use"),
        (0.0, 0, 1, "there is 1 to use"),
        (float("inf"), 4, 4, "there are 4 to use"),
    ],
)
def test_threads_are_what_the_work_is_worth_and_the_process_may_use(gflop, cores, count, why):
    assert threads.worth(gflop, cores) == (count, why)


def test_torch_is_told_the_number_and_processes_share_the_cores(told):
    assert framework.use_threads(100).count == 8
    assert framework.use_threads(100, processes=4).count == 2
    assert framework.use_threads(0.1).count == 1
    assert told == [8, 2, 1]


# E4f
@pytest.mark.parametrize("name", threads.COUNTS)
def test_a_number_that_the_user_set_is_left_alone(told, monkeypatch, name):
    monkeypatch.setenv(name, "7")
    choice = threads.use_threads(100)
    assert told == [] and choice.why == f"{name}=7 is set"
    assert choice.count == torch.get_num_threads()


@pytest.mark.parametrize("name", threads.SPINS)
def test_a_spin_that_the_user_set_is_left_alone(told, monkeypatch, name):
    monkeypatch.setenv(name, "passive")
    threads.shorten_spin()
    assert {key: os.environ.get(key) for key in threads.SPINS} == {
        key: "passive" if key == name else None for key in threads.SPINS
    }
    assert threads.use_threads(1).spin == f"{name}=passive"


def test_without_a_word_of_the_users_the_spin_is_short(told, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    threads.shorten_spin()
    assert os.environ["GOMP_SPINCOUNT"] == threads.SPIN


# OpenMP prints what it was given as it is loaded, which is when torch is imported.
PROGRAMS = {
    "train.py": ["train.py", "validate"],
    "edit.py": ["edit.py", "generate", "--model", "nothing", "--seeds", "1", "--out", "x"],
    "-m framework": ["-m", "framework.evaluation", "neighbours", "--help"],
}


# E5f
@pytest.mark.skipif(sys.platform != "linux", reason="torch brings libgomp on Linux")
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_shortens_the_spin_before_torch_is_imported(program, tmp_path):
    environment = {**UNSET, "OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run(
        [sys.executable, *PROGRAMS[program]], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this torch calculates with another OpenMP")
    assert f"GOMP_SPINCOUNT = '{threads.SPIN}'" in done.stderr


def test_an_import_of_the_package_leaves_the_environment_alone():
    program = "import os, framework; dir(framework); print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=UNSET, capture_output=True, text=True
    )
    assert done.stdout.strip() == "None"


# E6f
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, float("inf")),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/box\n2:memory:/box\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            float("inf"),
        ),
        ({}, float("inf")),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "odd\n"}, float("inf")),
    ],
)
def test_the_share_of_a_control_group_is_read(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.quota(tmp_path) == cores


def test_cores_are_those_of_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(threads, "affinity", lambda: {0, 3, 5})
    monkeypatch.setattr(threads, "quota", lambda: float("inf"))
    assert threads.usable_cores() == 3
    monkeypatch.setattr(threads, "quota", lambda: 1.9)
    assert threads.usable_cores() == 1
    monkeypatch.setattr(threads, "quota", lambda: 0.2)
    assert threads.usable_cores() == 1


def test_work_counts_the_convolutions_of_every_picture(tiny_generator):
    macs = 0

    def count(module, _, output):
        nonlocal macs
        macs += module.weight.numel() * output.shape[-2] * output.shape[-1]

    layers = [m for m in tiny_generator.synthesis.modules() if hasattr(m, "affine")]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        tiny_generator.synthesis(tiny_generator.mapping.w_avg.expand(1, tiny_generator.num_ws, -1))
    finally:
        for hook in hooks:
            hook.remove()
    assert macs > 0
    assert synthesis_gflop(tiny_generator, 3) == pytest.approx(3 * 2 * macs / 1e9)
