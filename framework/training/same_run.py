"""Checking that a checkpoint is of the run that the settings describe; if not, what differs."""

from collections.abc import Iterator
from typing import Any

from framework.errors import UserError

# How numbers are computed, not which: a run may go on on another machine.
_MACHINE = ("low_precision", "low_precision_blocks", "conv_clamp")
# Settings that came after the first runs were written, and what those had.
_LATER: dict[str, Any] = {"architecture": "resnet", "label_fade": False}
# Facts that put a difference of digests into words, and decide nothing.
_WORDS_ONLY = ("pictures.", "generator_name")
_PICTURES = {
    "count": "{}", "source": "of {}", "size": "size {}", "channels": "channels {}",
    "label_dim": "labels of length {}", "crop": "crop {}", "held_out": "held out {}",
    "condition": "condition {}", "paired": "paired {}",
}  # fmt: skip
# Flags whose names are not those of the settings that networks are built from.
_FLAGS = {
    "img_size": "--data.size", "img_channels": "--data.channels", "batch_size": "--data.batch_size",
    "discriminator.channel_base": "--model.networks.discriminator_channel_base",
    "discriminator.architecture": "--model.networks.discriminator_architecture",
    "encoder.type": "--model.encoder",
}  # fmt: skip
_NO_FLAG = ("c_dim", "label_fade", "w_avg_beta", "discriminates")


def check_same_run(about_run: dict[str, Any], identity: dict[str, Any]) -> None:
    """Check that a checkpoint is of the run that the settings describe.

    Args:
        about_run: The checkpoint's table `dragline`; may have more names than `identity`.
        identity: What must not change, nested tables of plain values; beside the digests what
            they are of, in words.

    Raises:
        UserError: Naming every setting that differs, both values, and the flags that resume it.
    """
    old, new = _flat(about_run), _flat(identity)
    for name in new.keys() - old.keys():
        is_table = any(other.startswith(f"{name}.") for other in old)
        old[name] = "a table" if is_table else _LATER.get(name.split(".")[-1], "unset")
    differing = [
        name
        for name in sorted(new)
        if old[name] != new[name]
        and name.split(".")[-1] not in _MACHINE
        and not name.startswith(_WORDS_ONLY)
    ]
    if differing:
        differences = "; ".join(_in_words(name, old, new) for name in differing)
        flags = " ".join(dict.fromkeys(flag for name in differing for flag in _way_on(name, old)))
        raise UserError(
            f"the run in this folder was begun with other settings: {differences}. Give a new "
            f"--run.dir, or the old settings{': ' if flags else ''}{flags}"
        )


def _in_words(name: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """Describe one difference; digests by what they are of."""
    if name == "data":
        return _other_pictures(old, new)
    if name == "generator_digest":
        before, now = (table.get("generator_name", "unset") for table in (old, new))
        if before in (now, "unset"):
            return f"--model.generator {now} holds another generator than it did"
        return f"another generator: {before}, now {now}"
    return f"{name} {old[name]}, now {new[name]}"


def _other_pictures(old: dict[str, Any], new: dict[str, Any]) -> str:
    facts = [
        (form, old.get(f"pictures.{n}"), new.get(f"pictures.{n}")) for n, form in _PICTURES.items()
    ]
    if old.get("pictures.count", "unset") == "unset":
        now = f" ({new['pictures.count']} of {new['pictures.source']})" if facts[0][2] else ""
        return f"other pictures than those of --data.source now{now}"
    changes = [f"{form.format(before)}, now {now}" for form, before, now in facts if before != now]
    same = f"as many, {old['pictures.count']}, but their contents, names or labels changed"
    return f"other pictures: {' and '.join(changes) or same}"


def _way_on(name: str, old: dict[str, Any]) -> Iterator[str]:
    """Yield the flags that give a setting its old value."""
    value, last = old[name], name.split(".")[-1]
    if name == "data":
        source = old.get("pictures.source", "unset")
        yield "--data.source " + ("WITH_THE_OLD_PICTURES" if source == "unset" else str(source))
    elif name == "generator_digest":
        generator = old.get("generator_name", "unset")
        yield "--model.generator " + ("THE_OLD_ONE" if generator == "unset" else str(generator))
    elif last not in _NO_FLAG and value != "unset":
        group = {"encoder": "architecture.", name: ""}.get(name.split(".")[0], "networks.")
        flag = _FLAGS.get(name) or _FLAGS.get(last) or f"--model.{group}{last}"
        yield f"{flag} {value}".replace(", ", ",")


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            value = list(value) if isinstance(value, tuple) else value
            flat[f"{prefix}{name}"] = value if _is_plain(value) else f"a {type(value).__name__}"
    return flat


def _is_plain(value: Any) -> bool:
    """Return whether values can be compared; tensors, for one, compare to tensors."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
