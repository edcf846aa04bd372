"""Keys: who calls, and which models it may use. Only hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

import msgspec

from moltbot_edge.core.catalog import named
from moltbot_edge.core.errors import Forbidden, NotAdmin, Unauthenticated

RawHeaders = Iterable[tuple[bytes, bytes]]


class KeyHolder(msgspec.Struct, frozen=True):
    """*digest* is the secret's SHA-256; a secret is 256 random bits, so it needs no salt and no slow hash."""

    name: str
    digest: bytes
    models: tuple[str, ...] | None = None
    admin: bool = False

    def check_may_use(self, alias: str) -> None:
        if self.models is not None and not named(alias, self.models):
            raise Forbidden(f"the key {self.name!r} may not use {alias!r}; it may use: {', '.join(self.models)}")

    def check_admin(self) -> None:
        if not self.admin:
            raise NotAdmin(
                f"the key {self.name!r} is no administrator's: `admin: true` in its line under `keys` makes it one"
            )


ANYONE = KeyHolder("", b"", admin=True)  # who can log in to this machine


class Auth:
    """With no keys configured everybody is `ANYONE`: the server then listens on loopback only."""

    def __init__(self, keys: Sequence[KeyHolder]) -> None:
        self._keys = tuple(keys)

    def holder(self, headers: RawHeaders) -> KeyHolder:
        """Whose key these headers carry, ``Authorization: Bearer`` or ``x-api-key``. Raises `Unauthenticated`."""
        if not self._keys:
            return ANYONE
        secret = _secret(headers)
        if secret is None:
            raise Unauthenticated("no key: send `Authorization: Bearer KEY` or `x-api-key: KEY`")
        digest = hashlib.sha256(secret).digest()
        found: KeyHolder | None = None
        for key in self._keys:  # all of them, each in constant time
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            raise Unauthenticated("this key is not known here; `moltbot-edge keys new NAME` makes one")
        return found


def _secret(headers: RawHeaders) -> bytes | None:
    api_key: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, secret = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return secret.strip()
        elif name == b"x-api-key":
            api_key = value.strip()
    return api_key
