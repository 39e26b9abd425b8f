"""Tests talk to no other machine: what they need is here, or they would not be repeatable."""

import socket

import pytest


def test_no_other_machine_is_reached():
    with socket.socket() as wire, pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
        wire.connect(("192.0.2.1", 80))  # set aside for documents: RFC 5737


def test_this_machine_is():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
