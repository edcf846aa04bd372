"""The gateway that most tests of one target share, and the machines behind it."""

from __future__ import annotations

from dataclasses import dataclass

from binary.place import Gateway
from scripted_upstream import Upstream

BY_DNS, BY_HOSTS = "models.example.test", "box.example.test"  # who knows them, in a root of its own


@dataclass(frozen=True)
class Served:
    """Models: `chat` and `near` are at *near*, `far` at *far*; `cloud` is reached by name and over TLS; `gone` is at
    a port where nobody listens. The alias `nearest` has `far` and `near`, and the policy of the documentation."""

    gateway: Gateway
    near: Upstream
    far: Upstream
    cloud: Upstream
