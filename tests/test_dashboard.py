import json
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from framework import dashboard
from framework.dashboard import open_run, resolve_mode
from framework.errors import UserError

KEY = "0" * 40


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """A machine where nobody is logged in and nothing is set."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DISABLED", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_without_a_login_nothing_leaves_the_machine(nobody):
    assert resolve_mode("auto") == "offline"


def test_a_key_in_the_environment_means_online(nobody, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert resolve_mode("auto") == "online"


@pytest.mark.parametrize(("host", "mode"), [("api.wandb.ai", "online"), ("github.com", "offline")])
def test_a_login_in_netrc_counts_for_its_host_only(nobody, host, mode):
    (nobody / ".netrc").write_text(f"machine {host} login user password {KEY}\n")
    (nobody / ".netrc").chmod(0o600)
    assert resolve_mode("auto") == mode


def test_a_login_at_a_server_of_ones_own_is_found_whatever_its_port(nobody, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example.org:8080/api")
    (nobody / ".netrc").write_text(f"machine wandb.example.org login user password {KEY}\n")
    (nobody / ".netrc").chmod(0o600)
    assert resolve_mode() == "online"


def test_a_broken_netrc_is_no_login(nobody):
    (nobody / ".netrc").write_text("machine\n")
    assert resolve_mode("auto") == "offline"


@pytest.mark.parametrize(
    ("word", "mode"), [("online", "online"), ("dryrun", "offline"), ("DISABLED", "disabled")]
)
def test_the_environment_decides_auto_and_the_flag_decides_everything(
    nobody, monkeypatch, word, mode
):
    monkeypatch.setenv("WANDB_MODE", word)
    assert resolve_mode("auto") == mode
    assert resolve_mode("offline") == "offline"


def test_an_unknown_word_is_refused(nobody, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UserError, match="WANDB_MODE=sometimes"):
        resolve_mode("auto")


def test_disabled_opens_nothing(tmp_path):
    assert open_run(tmp_path, "disabled") is None
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_reached_is_logged_offline_with_a_note(nobody, monkeypatch, capsys):
    asked = []

    def init(mode, arguments):
        asked.append(mode)
        if mode == "online":
            raise TimeoutError("dial tcp: connection refused\nand more")
        return "the run"

    monkeypatch.setattr(dashboard, "_init", init)
    assert open_run(nobody, "online") == "the run"
    assert asked == ["online", "offline"]
    said = capsys.readouterr().err
    assert "connection refused" in said and "offline" in said and "and more" not in said


def test_nothing_that_wandb_raises_stops_the_work(nobody, monkeypatch):
    def init(mode, arguments):
        raise RuntimeError("anything")

    monkeypatch.setattr(dashboard, "_init", init)
    assert open_run(nobody, "online") is None
    assert open_run(nobody, "offline") is None


def test_an_offline_run_is_read_back_by_wandbs_own_reader(nobody):
    run = open_run(nobody, "offline", job_type="drag", config={"steps": 3})
    assert run is not None
    run.log({"Drag/motion_loss": 0.25})
    run.finish()
    read = wandb_summary(nobody / "wandb")
    assert read["summary"]["Drag/motion_loss"] == 0.25
    assert read["config"]["steps"] == 3
    assert read["project"] == dashboard.PROJECT


def wandb_summary(folder: Path) -> dict:
    """What `wandb leet inspect --summary --json` says of the latest run in a wandb folder."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


# C5f
def test_what_the_environment_says_is_obeyed(nobody, monkeypatch):
    wanted = {
        "NAME": "mine", "PROJECT": "cars", "ENTITY": "team", "RUN_ID": "abc123", "TAGS": "a,b",
        "NOTES": "why", "RUN_GROUP": "pair", "JOB_TYPE": "sweep", "DIR": str(nobody / "elsewhere"),
    }  # fmt: skip
    (nobody / "elsewhere").mkdir()
    (nobody / "run").mkdir()
    for name, value in wanted.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    wandb.teardown()  # what it read of the environment in an earlier test
    run = open_run(nobody / "run", "offline", name="ours", job_type="train", id=None)
    assert run is not None
    run.finish()
    wandb.teardown()
    said = (run.name, run.project, run.entity, run.id, ",".join(run.tags), run.notes, run.group)
    assert said == tuple(list(wanted.values())[:7])
    assert run.job_type == "sweep" and any((nobody / "elsewhere").rglob("*.wandb"))
    assert not (nobody / "run" / "wandb").exists()


# C5f
def test_of_w_and_bs_own_settings_ours_are_only_where_none_are_set(nobody, monkeypatch):
    import wandb

    asked = []
    monkeypatch.setattr(wandb, "Settings", lambda **ours: asked.append(ours))
    monkeypatch.setattr(wandb, "init", lambda **_: None)
    open_run(nobody, "offline")
    for name in ("SILENT", "CONSOLE", "INIT_TIMEOUT", "DISABLE_GIT"):
        monkeypatch.setenv(f"WANDB_{name}", "false")
    open_run(nobody, "offline")
    assert asked[0]["silent"] is True and len(asked[0]) == 4 and asked[1] == {}


def test_deciding_the_mode_loads_neither_torch_nor_wandb():
    program = (
        "import sys, framework.dashboard as d; d.resolve_mode(); "
        "print({'torch', 'lightning', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
