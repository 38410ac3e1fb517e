"""The default tests reach no network and leave the user's own cache alone."""

from __future__ import annotations

import os
import socket

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0)])
def test_the_network_is_blocked(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as client, pytest.raises(RuntimeError, match="tried to reach the network"):
        client.connect(address)


def test_this_machine_can_be_reached():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_caches_are_temporary(cache_dir):
    assert os.environ["RL4LMS_CACHE"] == str(cache_dir)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
