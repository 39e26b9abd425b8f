"""Metrics beyond the run folder: whether and how they go to Weights & Biases.

Neither torch nor Lightning is imported here, and W&B only when a run is opened.
"""

import netrc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from framework.errors import UserError

PROJECT = "dragline"
ONLINE_TIMEOUT_SEC = 15.0
WandbMode = Literal["auto", "online", "offline", "disabled"]
ResolvedMode = Literal["online", "offline", "disabled"]
# WANDB_MODE has older words for the same three modes.
_ENVIRONMENT_WORDS: dict[str, ResolvedMode] = {
    "online": "online", "run": "online", "shared": "online",
    "offline": "offline", "dryrun": "offline",
    "disabled": "disabled", "off": "disabled",
}  # fmt: skip


def resolve_mode(mode: WandbMode = "auto") -> ResolvedMode:
    """Decide what "auto" means on this machine.

    WANDB_MODE is obeyed if set (WANDB_DISABLED too); otherwise "online" where somebody is logged
    in, "offline" elsewhere: no key is ever asked for, nothing leaves an unconfigured machine.

    Raises:
        UserError: If WANDB_MODE is a word that W&B does not know.
    """
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_DISABLED", "").lower() in {"1", "true", "yes"}:
        return "disabled"
    word = os.environ.get("WANDB_MODE", "").strip().lower()
    if word:
        if word not in _ENVIRONMENT_WORDS:
            raise UserError(f"WANDB_MODE={word}: use online, offline or disabled")
        return _ENVIRONMENT_WORDS[word]
    return "online" if has_api_key() else "offline"


def has_api_key() -> bool:
    """Whether a W&B key is configured (environment or netrc), without importing wandb."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    names = (".netrc", "_netrc")
    paths = [Path(os.environ["NETRC"])] if os.environ.get("NETRC") else [
        Path.home() / name for name in names
    ]  # fmt: skip
    return any(_has_login(path, host or "") for path in paths)


def open_run(
    folder: str | Path,
    mode: WandbMode = "auto",
    *,
    name: str | None = None,
    job_type: str | None = None,
    config: dict[str, Any] | None = None,
    project: str = PROJECT,
    **init: Any,
) -> Any | None:
    """Open a W&B run whose files lie in `folder`/wandb; this never fails the work it describes.

    Args:
        folder: Output folder of the run, which exists.
        mode: See `resolve_mode`. Online falls back to offline, with one line, if W&B cannot be
            reached within 15 seconds.
        name: Display name of the run; defaults to the folder's name. WANDB_NAME overrides it.
        job_type: Kind of run, such as "drag" or "train".
        config: Resolved settings, shown beside the metrics.
        project: Name of the W&B project.
        **init: Further arguments of `wandb.init` (such as `id` and `resume`).

    The environment takes precedence, as W&B documents it: WANDB_PROJECT, WANDB_NAME, WANDB_DIR,
    WANDB_JOB_TYPE, WANDB_RUN_GROUP, WANDB_RUN_ID, WANDB_SILENT, WANDB_CONSOLE, WANDB_INIT_TIMEOUT
    and WANDB_DISABLE_GIT replace what is set here; WANDB_ENTITY, WANDB_TAGS, WANDB_NOTES and the
    others work as usual. WANDB_MODE decides if `mode` is "auto".

    Returns:
        The run (`run.log`, `run.define_metric`, `run.finish`); None if W&B is off or unusable.
    """
    resolved = resolve_mode(mode)
    if resolved == "disabled":
        return None
    folder = Path(folder)
    arguments: dict[str, Any] = {
        "dir": str(folder),
        "project": project,
        "name": name or folder.resolve().name,
        "job_type": job_type,
        "config": config,
        **init,
    }
    arguments = {key: value for key, value in arguments.items() if not _in_environment(key)}
    try:
        return _init(resolved, arguments)
    except Exception as error:  # whatever W&B or the network raises: the work goes on without it
        _say(f"W&B {resolved} run not opened ({_first_line(error)})")
    if resolved == "offline":
        return None
    _say("logging offline instead; `wandb sync` uploads it later")
    try:
        return _init("offline", arguments)
    except Exception as error:
        _say(f"W&B offline run not opened ({_first_line(error)}); metrics are in stats.jsonl")
        return None


def log_media(run: Any, group: str, pictures: dict[str, Any], clip: Path | None = None) -> None:
    """Send pictures (uint8 arrays by name) and a clip to an open run, under `group`/name."""
    library = _library()
    media: dict[str, Any] = {f"{group}/{name}": library.Image(p) for name, p in pictures.items()}
    if clip is not None:
        media[f"{group}/video"] = library.Video(str(clip))
    run.log(media)


def log_table(run: Any, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Send rows of facts to an open run as a table; the columns are those of all rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = _library().Table(columns=columns, allow_mixed_types=True)
    for row in rows:
        table.add_data(*(row.get(column) for column in columns))
    run.log({name: table})


def in_sweep() -> bool:
    """Whether an agent of a W&B sweep started this process: it wants one run of it."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def _library() -> Any:
    import wandb

    return wandb


def _init(mode: ResolvedMode, arguments: dict[str, Any]) -> Any:
    wandb = _library()
    ours = {
        "silent": True, "console": "off", "init_timeout": ONLINE_TIMEOUT_SEC, "disable_git": True
    }  # fmt: skip
    settings = wandb.Settings(**{k: v for k, v in ours.items() if not _in_environment(k)})
    return wandb.init(mode=mode, settings=settings, **arguments)


def _in_environment(argument: str) -> bool:
    """Whether W&B's variable for an argument is set; then W&B reads it by itself."""
    variable = {"id": "RUN_ID", "group": "RUN_GROUP"}.get(argument, argument.upper())
    # Whether to resume is decided here, not by the environment.
    return argument != "resume" and bool(os.environ.get(f"WANDB_{variable}"))


def _has_login(path: Path, host: str) -> bool:
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _say(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
