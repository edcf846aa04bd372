"""What a request says before its messages: model, stream, session, fallbacks. The messages stay undecoded.

msgspec checks that the body is JSON while it skips what is not named here, so a malformed body
is found at this point and nowhere later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.errors import InvalidRequest

MODEL_CHARS = 512  # of a name; the longest of a file or a hub's repository are half of it

# Each costs some fifty bytes once it is read, and `1,` two; conversations of many megabytes have some thousands.
MOST_VALUES = 500_000

Body = bytes | bytearray | memoryview  # a piece of one on its way out

# Up to the next comma that stands in no string. It never looks back: what is no JSON costs as little.
_to_comma = re.compile(rb'[^",]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^",]*+)*+,', re.DOTALL).match


BY_NAME: Final = "session"
BY_ITEMS: Final = "input"


class Head(msgspec.Struct, frozen=True):
    """*fallbacks* are models to ask when *model* fails, in order. *ours*: the body has fields that are for us alone.

    *progress*: who streams wants to see how far it has come while it waits. *form*: it is no JSON, but comes in parts
    (`core.multipart`).

    A *session* is kept where the request is a chat; *keeps*: so is this one, under a name of ours; *unasked*: because
    its dialect's callers expect it. *parent* is the id of the turn after which it goes on, where that is said;
    *inherits* False: without the system text and the tools from before. *appends* False: it only reads the session.
    *asked_by* is the field that named it: any but `BY_NAME` names one that has to be there; `BY_ITEMS`, that what is
    sent seems to be from it.
    """

    model: str
    stream: bool = False
    session: str | None = None
    fallbacks: tuple[str, ...] = ()
    ours: bool = False
    progress: bool = False
    form: bool = False
    keeps: bool = False
    parent: str | None = None
    inherits: bool = True
    unasked: bool = False
    appends: bool = True
    asked_by: str = BY_NAME

    @property
    def names_session(self) -> bool:
        """Not only that something which it sends is kept in one."""
        return self.session is not None and self.asked_by != BY_ITEMS

    @property
    def may_begin(self) -> bool:
        """Whether it goes on with whatever is there of the session that it names, or begins it."""
        return self.session is not None and self.asked_by == BY_NAME and self.parent is None


LISTED = "GET /v1/models lists what there is"
MOST_FALLBACKS = 8  # as many again are a mistake, and each may cost a caller a timeout
OURS = frozenset({"session", "fallbacks", "models"})  # an upstream may refuse a field that it does not know


PROGRESS = b"include_progress"


class _Options(msgspec.Struct):
    include_progress: bool = False


class Wire(msgspec.Struct):
    """``stream: null`` and ``session: null`` are what some clients send for "not asked for".

    *models* is OpenRouter's spelling of fallbacks, where the first may be the model itself.
    """

    model: str | None = None
    stream: bool | None = None
    session: str | None = None
    fallbacks: list[str] | None = None
    models: list[str] | None = None
    stream_options: msgspec.Raw = msgspec.Raw()


W = TypeVar("W", bound=Wire)

_MODEL = re.compile(rb'"model"\s*:\s*')
_decode = msgspec.json.Decoder(Wire).decode
_decode_options = msgspec.json.Decoder(_Options).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_head(body: bytes | bytearray, decode: Callable[[bytes | bytearray], Wire] = _decode) -> Head:
    """Raises `InvalidRequest` that names the field at fault. Text inside the values is not looked at.

    A dialect's own *decode* may check more of the body on the way.
    """
    return head_of(read_wire(body, decode))


def read_wire(body: bytes | bytearray, decode: Callable[[bytes | bytearray], W]) -> W:
    check_values(body)
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the request body is not right: {error}", param=_field(str(error))) from error
    except UNREADABLE as error:
        raise InvalidRequest(f"the request body is not JSON: {error}") from error


def head_of(wire: Wire) -> Head:
    progress = bool(wire.stream) and PROGRESS in bytes(wire.stream_options) and _wants_progress(wire.stream_options)
    if wire.session is None and wire.fallbacks is None and wire.models is None:
        return Head(_checked(wire.model), bool(wire.stream), ours=progress, progress=progress)
    others = [*(wire.models or ()), *(wire.fallbacks or ())]
    model = _checked(wire.model or (others.pop(0) if others else None))
    if len(others) > MOST_FALLBACKS:
        field = "models" if wire.models else "fallbacks"
        raise InvalidRequest(f"the field `{field}` names more than {MOST_FALLBACKS} models", param=field)
    fallbacks = tuple(dict.fromkeys(_checked(name) for name in others if name != model))
    return Head(model, bool(wire.stream), wire.session, fallbacks, True, progress)


def check_values(body: bytes | bytearray) -> None:
    """Raises `InvalidRequest` where *body* has so many values that reading it would take all memory."""
    if len(body) <= MOST_VALUES or body.count(b",") <= MOST_VALUES:
        return
    place = 0
    for _ in range(MOST_VALUES):
        found = _to_comma(body, place)
        if found is None:
            return
        place = found.end()
    raise InvalidRequest(f"the request has more than {MOST_VALUES} values")


def check_text(body: bytes | bytearray) -> None:
    """Raises `InvalidRequest`. What is skipped, or passed on as it came, no decoder looks at."""
    try:
        str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the request body is not JSON: {error}") from error


def _wants_progress(options: msgspec.Raw) -> bool:
    try:
        return _decode_options(options).include_progress
    except (msgspec.DecodeError, UnicodeDecodeError):  # the upstream will say what is wrong with it
        return False


def _checked(model: str | None) -> str:
    if model is None:
        raise InvalidRequest(f"the field `model` is missing: expected a `str`; {LISTED}", param="model")
    if not model:
        raise InvalidRequest(f"the field `model` is empty; {LISTED}", param="model")
    if len(model) > MODEL_CHARS:  # an error would say it again, several times as long
        raise InvalidRequest(f"the field `model` is longer than {MODEL_CHARS} characters", param="model")
    return model


def with_wishes(head: Head, headers: Mapping[bytes, bytes]) -> Head:
    """*head* with what *headers* of ours say: they serve every dialect, and win over the body's fields."""
    session = headers.get(b"x-moltbot-session")
    if session is not None:
        head = _named(head, _text(session))
    said = headers.get(b"x-moltbot-fallbacks")
    if said is None:
        return head
    text = _text(said)
    names = [name for one in text.split(",") if (name := one.strip())]
    if len(names) > MOST_FALLBACKS:
        raise InvalidRequest(f"the header `x-moltbot-fallbacks` names more than {MOST_FALLBACKS} models")
    return msgspec.structs.replace(head, fallbacks=tuple(dict.fromkeys(_checked(one) for one in names)))


def _named(head: Head, name: str) -> Head:
    if head.asked_by != BY_NAME and head.session != name:
        raise InvalidRequest(
            f"the header `x-moltbot-session` names {name[:64]!r}, and `{head.asked_by}` another session: send one",
            param=head.asked_by,
        )
    return msgspec.structs.replace(head, session=name)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:  # as HTTP once had it
        return value.decode("latin-1")


def with_model(body: bytes | bytearray, wanted: str, head: Head) -> list[Body]:
    """The same body with *wanted* in place of the top-level model of its *head*, as pieces to be sent in order.

    Every other byte stays as it is where ``"model"`` stands in the body once. Where it may stand again (a tool's
    schema has such a field, a key is spelt with escapes, a caller says it twice) the top level is written anew,
    each key once and its value byte for byte: what was checked against a key's models is what the upstream reads.
    So it is where fields for us are to be left out.
    """
    found = head.model
    # Inside a JSON string the quotes would be escaped, so this is a key or a value. \\u006x are its letters.
    if not head.ours and body.count(b'"model"') == 1 and b"\\u006" not in body:
        if wanted == found:
            return [body]
        said = msgspec.json.encode(found)
        place = _MODEL.search(body)
        if place is not None and body.startswith(said, place.end()):
            view = memoryview(body)
            return [view[: place.end()], msgspec.json.encode(wanted), view[place.end() + len(said) :]]
    fields = _decode_fields(body)
    if head.ours:
        fields = {name: value for name, value in fields.items() if name not in OURS}
    if head.progress:
        options = _decode_fields(fields.pop("stream_options", b"{}"))
        options.pop("include_progress", None)
        if options:
            fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    fields["model"] = msgspec.Raw(msgspec.json.encode(wanted))
    return [msgspec.json.encode(fields)]


def with_slot(body: Sequence[Body], slot: int) -> list[Body]:
    """The same JSON object, as pieces, with ``id_slot`` as its last field: llama-server takes the last of two."""
    *before, last = body
    return [*before, bytes(last).rstrip().removesuffix(b"}"), b',"id_slot":%d}' % slot]


def _field(message: str) -> str | None:
    """The field that msgspec's message names: ``Expected `str`, got `int` - at `$.messages[0].role```."""
    found = [re.search(pattern, message) for pattern in (r"at `\$\.(.+)`", r"missing required field `(\w+)`")]
    return ".".join(one[1] for one in found if one is not None) or None
