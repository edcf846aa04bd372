"""A form's model is read and replaced, and nothing else of it; what may be read in two ways is refused."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.multipart import read_form, with_model

TYPE = b"multipart/form-data; boundary=abc"


def form(*parts: tuple[str, bytes]) -> bytes:
    pieces = [b"--abc\r\n%b\r\n\r\n%b\r\n" % (head.encode(), content) for head, content in parts]
    return b"".join(pieces) + b"--abc--\r\n"


def named(name: str, content: bytes) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{name}"', content


def replaced(body: bytes, wanted: str = "theirs", kind: bytes = TYPE) -> bytes:
    return b"".join(with_model(kind, body, wanted, read_form(kind, body).model))


@given(content=st.binary(max_size=300), before=st.booleans())
def test_a_clients_form_keeps_its_file_to_the_byte(content: bytes, before: bool) -> None:
    fields: dict[str, str] = {"model": "whisper"} if before else {}
    files = {"file": ('a "b".wav', content, "audio/wav")} | ({} if before else {"model": (None, "whisper")})
    request = httpx.Request("POST", "http://box", data=fields, files=files)
    kind, body = request.headers["content-type"].encode(), request.read()
    head = read_form(kind, body)
    assert (head.model, head.stream, head.form) == ("whisper", False, True)
    assert replaced(body, "their whisper", kind) == body.replace(b"whisper", b"their whisper", 1)
    assert content in replaced(body, "x", kind)


def test_a_stream_is_asked_for_in_words() -> None:
    assert read_form(TYPE, form(named("model", b"m"), named("stream", b"true"))).stream
    assert not read_form(TYPE, form(named("model", b"m"), named("stream", b"False"))).stream


def test_the_name_is_left_where_it_is_the_same() -> None:
    body = form(named("model", b"m"))
    assert with_model(TYPE, body, "m", "m") == [body]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "does not begin"),
        (b'{"model":"m"}', "does not begin"),
        (form(named("file", b"x")), "no `model`"),
        (form(named("model", b"")), "no `model`"),
        (form(named("model", b"a"), named("model", b"b")), "twice"),
        (form(named("model", b"a"), ("Content-Disposition: form-data; name=model", b"b")), "twice"),
        (form(named("model", b"a"), ('content-disposition:form-data;NAME="model"', b"b")), "twice"),
        (form(named("model", b"a"), ("Content-Disposition: form-data; name*=utf-8''model", b"b")), "plain name"),
        (form(named("model", b"a"), ('Content-Disposition: form-data; name="x"; name="model"', b"b")), "plain name"),
        (form(named("model", b"a"), ('Content-Disposition: form-data; name="mo\\del"', b"b")), "plain name"),
        (form(named("model", b"a"), ('Content-Disposition: form-data; name = "model"', b"b")), "plain name"),
        (form(named("model", b"a"), ('Content-Disposition: form-data;\r\n name="model"', b"b")), "one plain name"),
        (form(named("model", b"a"), ("X: y", b"b")), "Content-Disposition"),
        (form(named("model", b"a\r\nb")), "printed"),
        (form(named("model", b"\xff")), "UTF-8"),
        (form(named("model", b"a" * 5000)), "longer"),
        (form(named("model", b"a"))[:-8], "cut off"),
        (form(*[named("x", b"")] * 300), "more than 256"),
    ],
)
def test_what_is_no_plain_form_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_form(TYPE, body)


@pytest.mark.parametrize(
    "kind", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=abc", TYPE + b"; boundary=d"]
)
def test_without_a_boundary_there_is_no_form(kind: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no form"):
        read_form(kind, form(named("model", b"m")))


def test_a_boundary_in_quotes_is_one() -> None:
    assert read_form(b'multipart/form-data; charset=utf-8; boundary="abc"', form(named("model", b"m"))).model == "m"
