"""Faults of the program as a stranger may see them: a line and a number, nothing of the inside."""

import logging
import secrets

from framework.command_line import explain

_LOG = logging.getLogger("framework.studio")


def in_a_line(error: Exception) -> str:
    """Return what a page is told; a fault of ours goes to the log, under the number in the line."""
    message = explain(error)
    if message is None:
        number = secrets.token_hex(4)
        _LOG.error("fault %s", number, exc_info=error)
        message = f"something went wrong here (fault {number} in the terminal); the edit is kept"
    return message
