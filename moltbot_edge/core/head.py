"""What a request says before its messages: model, stream, session. The messages stay undecoded.

msgspec checks that the body is JSON while it skips what is not named here, so a malformed body
is found at this point and nowhere later.
"""

from __future__ import annotations

import re

import msgspec

from moltbot_edge.core.errors import InvalidRequest

Body = bytes | bytearray | memoryview


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


def read_head(body: Body) -> Head:
    """Raises `InvalidRequest` that names the field at fault."""
    try:
        wire = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the request body is not right: {error}", param=_field(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the request body is not JSON: {error}") from error
    if not wire.model:
        raise InvalidRequest("the field `model` is empty; GET /v1/models lists what there is", param="model")
    return Head(wire.model, bool(wire.stream), wire.session)


def with_model(body: Body, wanted: str, found: str) -> list[Body]:
    """The same body with *wanted* in place of the top-level model *found*, as pieces to be sent in order.

    Every other byte stays as it is, as long as ``"model":"<found>"`` stands in the body once. Where it stands
    more often (a tool's schema has such a field) the top level is written anew, its values byte for byte.
    """
    if wanted == found:
        return [body]
    name = msgspec.json.encode(wanted)
    # Inside a JSON string the quotes would be escaped, so this can only match a key and its value.
    places = re.finditer(rb'"model"\s*:\s*(' + re.escape(msgspec.json.encode(found)) + rb")", body)
    first = next(places, None)
    if first is not None and next(places, None) is None:
        start, end = first.span(1)
        view = memoryview(body)
        return [view[:start], name, view[end:]]
    fields = _decode_fields(body)
    fields["model"] = msgspec.Raw(name)
    return [msgspec.json.encode(fields)]


def _field(message: str) -> str | None:
    """The field that msgspec's message names: ``Expected `str`, got `int` - at `$.model```."""
    found = re.search(r"at `\$\.(\w+)|missing required field `(\w+)`", message)
    return (found[1] or found[2]) if found else None
