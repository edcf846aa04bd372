"""Random bytes that are had some at once."""

from __future__ import annotations

from moltbot_edge.gateway.noise import HELD_BYTES, Noise


def test_no_byte_is_given_twice_and_each_call_has_as_many_as_it_asks_for() -> None:
    drawn: list[bytes] = []

    def source(size: int) -> bytes:
        drawn.append(bytes([len(drawn)]) * size)
        return drawn[-1]

    noise = Noise(source)
    given = [noise(size) for size in (10, HELD_BYTES - 10, 12, HELD_BYTES, 3 * HELD_BYTES, 1)]
    assert [set(one) for one in given] == [{0}, {0}, {1}, {2}, {3}, {4}]
    assert [len(one) for one in given] == [10, HELD_BYTES - 10, 12, HELD_BYTES, 3 * HELD_BYTES, 1]


def test_two_calls_are_not_the_same() -> None:
    noise = Noise()
    assert len({noise(16) for _ in range(1000)}) == 1000
