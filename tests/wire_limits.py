"""Limits of a pool that no test reaches unless it means to."""

from __future__ import annotations

from moltbot_edge.upstream.wire import WireLimits

LIMITS = WireLimits(
    connections=4,
    idle_connections=4,
    idle_connection_s=60,
    queue=4,
    queue_s=60,
    connect_s=60,
    first_byte_s=60,
    between_bytes_s=60,
    total_s=60,
)
