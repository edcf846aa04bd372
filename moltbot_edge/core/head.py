"""What a request says before its messages: model, stream, session. The messages stay undecoded.

msgspec checks that the body is JSON while it skips what is not named here, so a malformed body
is found at this point and nowhere later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from moltbot_edge.core.errors import InvalidRequest

MODEL_CHARS = 512  # of a name; the longest of a file or a hub's repository are half of it

Body = bytes | bytearray | memoryview  # a piece of one on its way out


class Head(msgspec.Struct, frozen=True):
    model: str
    stream: bool = False
    session: str | None = None


class _Wire(msgspec.Struct):
    """``stream: null`` and ``session: null`` are what some clients send for "not asked for"."""

    model: str
    stream: bool | None = None
    session: str | None = None


_decode = msgspec.json.Decoder(_Wire).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_head(body: bytes | bytearray) -> Head:
    """Raises `InvalidRequest` that names the field at fault. Text inside the values is not looked at."""
    try:
        wire = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the request body is not right: {error}", param=_field(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the request body is not JSON: {error}") from error
    if not wire.model:
        raise InvalidRequest("the field `model` is empty; GET /v1/models lists what there is", param="model")
    if len(wire.model) > MODEL_CHARS:  # an error would say it again, several times as long
        raise InvalidRequest(f"the field `model` is longer than {MODEL_CHARS} characters", param="model")
    return Head(wire.model, bool(wire.stream), wire.session)


def with_model(body: bytes | bytearray, wanted: str, found: str) -> list[Body]:
    """The same body with *wanted* in place of the top-level model *found*, as pieces to be sent in order.

    Every other byte stays as it is where ``"model"`` stands in the body once. Where it may stand again (a tool's
    schema has such a field, a key is spelt with escapes, a caller says it twice) the top level is written anew,
    each key once and its value byte for byte: what was checked against a key's models is what the upstream reads.
    """
    # Inside a JSON string the quotes would be escaped, so this is a key or a value. \\u006x are its letters.
    if body.count(b'"model"') == 1 and b"\\u006" not in body:
        if wanted == found:
            return [body]
        place = re.search(rb'"model"\s*:\s*(' + re.escape(msgspec.json.encode(found)) + rb")", body)
        if place is not None:
            view = memoryview(body)
            return [view[: place.start(1)], msgspec.json.encode(wanted), view[place.end(1) :]]
    fields = _decode_fields(body)
    fields["model"] = msgspec.Raw(msgspec.json.encode(wanted))
    return [msgspec.json.encode(fields)]


def with_slot(body: Sequence[Body], slot: int) -> list[Body]:
    """The same JSON object, as pieces, with ``id_slot`` as its last field: llama-server takes the last of two."""
    *before, last = body
    return [*before, bytes(last).rstrip().removesuffix(b"}"), b',"id_slot":%d}' % slot]


def _field(message: str) -> str | None:
    """The field that msgspec's message names: ``Expected `str`, got `int` - at `$.model```."""
    found = re.search(r"at `\$\.(\w+)|missing required field `(\w+)`", message)
    return (found[1] or found[2]) if found else None
