"""Which of a machine's network interfaces leads to the other machines of a run."""

import os
import socket
import struct
import sys
from typing import Any

_SIOCGIFADDR = 0x8915  # linux/sockios.h
_ANY_PORT = 9  # nothing is sent


def choose_interface(trainer: Any) -> None:
    """Let gloo listen where the other machines of the run can reach it.

    By default it listens at the address that this machine's own name has, which is 127.0.0.1 in
    many an /etc/hosts. Somebody's choice in `GLOO_SOCKET_IFNAME` stays.

    Args:
        trainer: Lightning's trainer, before its processes have met.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes > 1 and environment is not None:
        interface = interface_to(environment.main_address)
        if interface is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def interface_to(host: str) -> str | None:
    """Return the name of the interface whose address this machine uses towards `host`.

    None if that cannot be known: without a way to `host`, by IPv6 only, or not on Linux.
    """
    if sys.platform != "linux":
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect((host, _ANY_PORT))
        except OSError:
            return None
        own = way.getsockname()[0]
        names = [name for _, name in socket.if_nameindex()]
        return next((name for name in names if _address(way, name) == own), None)


def _address(way: socket.socket, interface: str) -> str | None:
    """Return the IPv4 address of an interface; None if it has none."""
    import fcntl

    request = struct.pack("256s", interface.encode()[:15])
    try:
        answer = fcntl.ioctl(way.fileno(), _SIOCGIFADDR, request)
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])
