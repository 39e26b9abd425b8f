"""Two machines on this one: network namespaces joined by a cable, each with a disk of its own.

They need no rights where people may have user namespaces, and go with their processes.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
_OWN = ("--user", "--map-root-user", "--net", "--mount")


class Machine:
    """A namespace of the network and of mounts, kept by a process that sleeps in it."""

    def __init__(self, command: list[str]) -> None:
        self.keeper = subprocess.Popen([*command, "sleep", "infinity"])
        self.pid = self.keeper.pid
        _wait(lambda: Path(f"/proc/{self.pid}/comm").read_text().strip() == "sleep")

    def command(self, *words: str) -> list[str]:
        """The command line that runs `words` there, in today's folder."""
        of = ("--user", "--net", "--mount", "--preserve-credentials", f"--wd={os.getcwd()}")
        return ["nsenter", "--target", str(self.pid), *of, "--", *words]

    def do(self, line: str) -> None:
        """Run a few words there."""
        subprocess.run(self.command(*line.split()), check=True)

    def crash(self) -> None:
        """Kill all that runs there at once, but for its keeper: the network says so to others."""
        here = os.readlink(f"/proc/{self.pid}/ns/net")
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "ns/net") == here and int(process.name) != self.pid:
                    os.kill(int(process.name), 9)
            except OSError:  # gone
                continue


def why_not() -> str:
    """What this machine lacks for two machines; empty if nothing."""
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"there is no {' and no '.join(missing)}"
    made = subprocess.run(["unshare", *_OWN, "true"], capture_output=True)
    return "network namespaces are not permitted" if made.returncode else ""


@contextmanager
def two_machines(disk: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines with the addresses `ADDRESSES`; at `disk` each sees an empty disk of its own."""
    disk.mkdir()
    first = Machine(["unshare", *_OWN])
    inside = ["nsenter", "--target", str(first.pid), "--user", "--preserve-credentials"]
    second = Machine([*inside, "unshare", "--net", "--mount"])
    try:
        first.do(f"ip link add cable type veth peer name cable netns {second.pid}")
        for machine, address in zip((first, second), ADDRESSES, strict=True):
            machine.do("ip link set lo up")
            machine.do(f"ip address add {address}/24 dev cable")
            machine.do("ip link set cable up")
            machine.do(f"mount -t tmpfs own {disk}")
        yield first, second
    finally:
        for machine in (second, first):
            machine.crash()
            machine.keeper.kill()
            machine.keeper.wait()


def _wait(condition) -> None:
    while not condition():
        time.sleep(0.01)
