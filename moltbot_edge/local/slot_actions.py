"""Three questions to an engine about its slots: how many there are, save one, load one. One connection each.

Source: ``GET /props`` and ``POST /slots/{id}?action=save|restore`` in llama.cpp's ``tools/server/README.md``. A slot
that is busy lets an action wait. **A file that was cut short ends the whole engine** (build 11434 aborts), so whoever
loads one has to know that it is whole.
"""

from __future__ import annotations

import asyncio

import msgspec

ACTION_S = 60.0  # 2 GB at 40 MB/s; a slot that answers is not saved before its reply has ended
ASK_S = 5.0
REPLY_BYTES = 4 * 1024 * 1024  # /props holds the chat template, some 10 KiB

Address = tuple[str, int]


class Modalities(msgspec.Struct, frozen=True):
    vision: bool = False
    audio: bool = False


class TemplateAbilities(msgspec.Struct, frozen=True):
    supports_tools: bool = False
    supports_tool_calls: bool = False


class Props(msgspec.Struct, frozen=True):
    """What a running engine says of itself; older builds leave some of it out."""

    total_slots: int = 1
    build_info: str = ""
    chat_template: str = ""
    chat_template_caps: TemplateAbilities = TemplateAbilities()
    modalities: Modalities = Modalities()


class _Times(msgspec.Struct):
    save_ms: float = 0.0
    restore_ms: float = 0.0


class Moved(msgspec.Struct, frozen=True):
    """A slot that was saved or loaded."""

    tokens: int
    size_bytes: int
    seconds: float


class _Moved(msgspec.Struct):
    n_saved: int = 0
    n_written: int = 0
    n_restored: int = 0
    n_read: int = 0
    timings: _Times = msgspec.field(default_factory=_Times)


class _Error(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


class SlotError(Exception):
    """The engine did not do it; in its own words where it said any. *gone*: it did not answer at all."""

    def __init__(self, message: str, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


_props = msgspec.json.Decoder(Props).decode
_moved = msgspec.json.Decoder(_Moved).decode
_refusal = msgspec.json.Decoder(_Refusal).decode


async def props(address: Address) -> Props:
    """What is known of every engine, where it does not say."""
    try:
        status, body = await _ask(address, "GET /props", b"", ASK_S)
        return _props(body) if status == 200 else Props()
    except (SlotError, msgspec.DecodeError):
        return Props()


async def save(address: Address, slot: int, file: str) -> Moved:
    """To *file* below the engine's ``--slot-save-path``. Raises `SlotError`."""
    said = await _act(address, slot, "save", file)
    return Moved(said.n_saved, said.n_written, said.timings.save_ms / 1000)


async def load(address: Address, slot: int, file: str) -> Moved:
    """In place of what the slot holds; where it fails, the slot is empty. Raises `SlotError`."""
    said = await _act(address, slot, "restore", file)
    return Moved(said.n_restored, said.n_read, said.timings.restore_ms / 1000)


async def _act(address: Address, slot: int, action: str, file: str) -> _Moved:
    body = msgspec.json.encode({"filename": file})
    status, reply = await _ask(address, f"POST /slots/{slot}?action={action}", body, ACTION_S)
    try:
        if status == 200:
            return _moved(reply)
        raise SlotError(_refusal(reply).error.message or f"status {status}")
    except msgspec.DecodeError as error:
        raise SlotError(f"status {status}, and no JSON") from error


async def _ask(address: Address, what: str, body: bytes, wait_s: float) -> tuple[int, bytes]:
    host, port = address
    head = f"{what} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    reply = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                while len(reply) < REPLY_BYTES and (data := await reader.read(65536)):
                    reply += data
            finally:
                writer.close()
    except OSError as error:  # TimeoutError is one
        raise SlotError(str(error) or "no reply", gone=True) from error
    first, _, rest = bytes(reply).partition(b"\r\n")
    words = first.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise SlotError("it closed the connection", gone=True)
    return int(words[1]), rest.partition(b"\r\n\r\n")[2]
