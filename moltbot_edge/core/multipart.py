"""A form's body in parts, as audio and pictures are posted: its model read, and replaced. The files stay as they are.

Source: RFC 7578 and RFC 2046, 5.1.1; what browsers and HTTP clients send. Strict, for what was checked against a key's
models has to be what the upstream reads: a part that two readers may take for two things is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import LISTED, MODEL_CHARS, Body, Head

MOST_PARTS = 256
PART_HEAD_BYTES = 4 * 1024

_boundary = re.compile(
    rb'(?i)multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)'
).match
_disposition = re.compile(rb"(?im)^content-disposition:[ \t]*form-data((?:[ \t]*;[^\r\n]*)?)$").findall
_any_disposition = re.compile(rb"(?im)^content-disposition").findall
_parameter = re.compile(rb';[ \t]*([A-Za-z0-9*_.-]+)=("(?:[^"\\]|\\.)*"|[^\s;"]*)')


class Part(msgspec.Struct, frozen=True):
    """*start* and *end* are its content's places in the body."""

    name: bytes
    start: int
    end: int


def read_form(content_type: bytes, body: bytes | bytearray) -> Head:
    """Raises `InvalidRequest` that names the field at fault."""
    model, stream = None, False
    for part in _parts(content_type, body):
        if part.name == b"model":
            if model is not None:
                raise InvalidRequest("the form names `model` twice", param="model")
            model = _text(body, part)
        elif part.name == b"stream":
            stream = bytes(body[part.start : part.end]).strip().lower() in (b"true", b"1")
    if not model:
        raise InvalidRequest(f"the form has no `model`; {LISTED}", param="model")
    return Head(model, stream, form=True)


def with_model(content_type: bytes, body: bytes | bytearray, wanted: str, found: str) -> list[Body]:
    """The same form with *wanted* in place of its model, as pieces to be sent in order."""
    if wanted == found:
        return [body]
    place = next(part for part in _parts(content_type, body) if part.name == b"model")
    view = memoryview(body)
    return [view[: place.start], wanted.encode(), view[place.end :]]


def _text(body: bytes | bytearray, part: Part) -> str:
    if part.end - part.start > 4 * MODEL_CHARS:
        raise InvalidRequest(f"the field `model` is longer than {MODEL_CHARS} characters", param="model")
    try:
        text = bytes(body[part.start : part.end]).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("the field `model` is no UTF-8", param="model") from error
    if not text.isprintable():
        raise InvalidRequest("the field `model` holds what cannot be printed", param="model")
    return text


def _parts(content_type: bytes, body: bytes | bytearray) -> Iterator[Part]:
    found = _boundary(content_type)
    if found is None or content_type.lower().count(b"boundary=") > 1:
        raise InvalidRequest("the request is no form: `Content-Type: multipart/form-data` with its boundary is wanted")
    delimiter = b"--" + (found[1] or found[2])
    if not body.startswith(delimiter):
        raise InvalidRequest("the form does not begin with its boundary")
    at = len(delimiter)
    for _ in range(MOST_PARTS):
        if body.startswith(b"--", at):
            return
        head_end = body.find(b"\r\n\r\n", at, at + PART_HEAD_BYTES)
        end = body.find(b"\r\n" + delimiter, head_end + 2)
        if not body.startswith(b"\r\n", at) or head_end < 0 or end < 0:
            raise InvalidRequest("the form is cut off, or a part of it does not begin or end as it has to")
        yield Part(_name(bytes(body[at + 2 : head_end])), min(head_end + 4, end), end)
        at = end + 2 + len(delimiter)
    raise InvalidRequest(f"the form has more than {MOST_PARTS} parts")


def _name(head: bytes) -> bytes:
    """Of a part, by its *head*; whatever could be read in another way is refused."""
    lines = head.replace(b"\r\n", b"\n")
    dispositions = _disposition(lines)
    if b"\r" in lines or len(dispositions) != 1 or len(_any_disposition(lines)) != 1:
        raise InvalidRequest("a part of the form has not one `Content-Disposition: form-data`")
    parameters = _parameter.findall(dispositions[0])
    rest = _parameter.sub(b"", dispositions[0]).strip()
    names: list[bytes] = [value.strip(b'"') for key, value in parameters if key.lower() == b"name"]
    if len(names) != 1 or rest or b"\\" in names[0] or any(key.lower() == b"name*" for key, _ in parameters):
        raise InvalidRequest("a part of the form has not one plain name")
    return names[0]
