"""What is this board, and what is on the LAN."""

from __future__ import annotations

import pytest

from moltbot_edge.network.lan import THIS_BOARD, is_lan, machine


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "::1", "localhost", "box.localhost", "10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.1.20"),
        *("169.254.3.4", "100.64.0.1", "100.127.255.254", "fe80::1%eth0", "fd12:3456::1", "::ffff:192.168.1.2"),
        *("box.local", "BOX.LOCAL.", "box.lan", "box.internal", "box.home.arpa", "model-server"),
    ],
)
def test_these_are_on_the_lan(host: str) -> None:
    assert is_lan(host)


@pytest.mark.parametrize(
    "host",
    [
        *("api.example.com", "8.8.8.8", "172.32.0.1", "172.15.255.255", "192.169.0.1", "100.63.0.1", "100.128.0.1"),
        *("2606:4700::1", "::ffff:8.8.8.8", "local.example.com", "notlocal.com", "box.localhost.example.com"),
    ],
)
def test_these_are_not(host: str) -> None:
    assert not is_lan(host)


def test_loopback_is_this_board_whatever_it_is_called() -> None:
    assert {machine(host) for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost", "a.localhost")} == {THIS_BOARD}
    assert machine("Box.local.") == machine("box.local") == "box.local"
    assert machine("192.168.1.2") != machine("192.168.1.3")
