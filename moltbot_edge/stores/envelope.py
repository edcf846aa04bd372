"""What surrounds a turn's record where it is kept: a checksum, because cards forget bits, and less room.

A turn of 1 KiB of prose takes 600 bytes so, 755 without words that are known before, and 1,300 as it is; on a disk each
page that is not written counts twice: in the log and in its place. What does not become smaller is kept as it is.
"""

from __future__ import annotations

import zlib
from binascii import crc32
from typing import Final

from moltbot_edge.core import record
from moltbot_edge.core.record import Unreadable
from moltbot_edge.core.session import Turn

PLAIN, PACKED = b"p", b"1"
RAW: Final = -15  # deflate without zlib's own head and checksum
SHORT_BYTES: Final = 4096
# Level, window and memory. For a short one zlib's own choice would take 66 us, most of it to clear its tables; with
# level 6, 35 us in place of 28, and its two bytes in a hundred less spare no page.
SHORT: Final = (3, -12, 5)
LONG: Final = (6, RAW, 8)
WORTH_BYTES: Final = 256
LARGEST_BYTES: Final = 256 * 1024 * 1024  # unpacked: eight times what a request's body may have
HEAD_BYTES: Final = 5

# What a record of kind "1" is packed with, and only with these very bytes unpacked: never to be changed. The likelier
# stands nearer the end. Words of English, of programs and of assistants; then a record's own fields.
KNOWN: Final = (
    b" and because they their would could should about which there where these those when what your have from that"
    b" this with will been more other some time than then into only over also after first people many such between"
    b" through being before under while against most made used each number following example however different"
    b" another without within important model data system information process using based language value function"
    b" return string file code list following = def class import self None True False for in if else: return print("
    b' ``` ```python\n```json\n{"": "", "name": "", "type": "", "content": "", "description": ""} - **1. **2. \n\n##'
    b" \n- The This It is a In of the to the in the for the on the with the and the that the by the from the is the at"
    b" the as a of a to be can be is a it is you can you want I am I have do not does not Here is Here are Sure, How do"
    b" I What is Can you explain Please write a let me know if you need any help. I'm sorry, but of course! "
    b"\x8a\xa2id\xba01m8\xa2at\xcbA\xda\xc1\xa8messages\x91\x82\xa4role\xa4tool\xa5parts\x91\x84\xa4type\xaatoolresult"
    b"\xa2id\xa5parts\x91\x82\xa4type\xa4text\xa4text\x83\xa4type\xa8toolcall\xa2id\xa4name\xa9arguments\xa9reasoning"
    b"\xa6finish\xaatool_calls\xa6length\xa6system\x91\x82\xa4role\xa6system\xa5parts\x91\x82\xa4type\xa4text\xa4text\xda"
    b"\x8b\xa2id\xba01m8\xa2at\xcbA\xda\xc1\xa8messages\x91\x82\xa4role\xa4user\xa5parts\x91\x82\xa4type\xa4text\xa4text\xda"
    b"\x02\xa5reply\x82\xa4role\xa9assistant\xa5parts\x91\x82\xa4type\xa4text\xa4text\xda\x02\xa6parent\xba01m8\xa5model\xa4"
    b"\xaadeployment\xa7dialect\xb2anthropic-messages\xa7dialect\xa6ollama\xa7dialect\xb0openai-responses\xa7dialect\xab"
    b"openai-chat\xa5usage\x83\xacinput_tokens\xcd\xadoutput_tokens\xcc\xadcached_tokens\x00"
)


def sealed(turn: Turn) -> bytes:
    body = record.written(turn)
    kind = PLAIN
    if len(body) >= WORTH_BYTES:
        level, window, memory = SHORT if len(body) <= SHORT_BYTES else LONG
        packing = zlib.compressobj(level, zlib.DEFLATED, window, memory, zdict=KNOWN)
        packed = packing.compress(body) + packing.flush()
        if len(packed) < len(body):
            kind, body = PACKED, packed
    return kind + crc32(body).to_bytes(4, "big") + body


def opened(kept: bytes) -> Turn:
    """Raises `Unreadable`."""
    kind, check, body = kept[:1], kept[1:HEAD_BYTES], kept[HEAD_BYTES:]
    if kind not in (PLAIN, PACKED) or int.from_bytes(check, "big") != crc32(body):
        raise Unreadable("its checksum is not that of its bytes")
    if kind == PACKED:
        unpacking = zlib.decompressobj(RAW, zdict=KNOWN)
        try:
            body = unpacking.decompress(body, LARGEST_BYTES)
        except zlib.error as error:
            raise Unreadable(str(error)) from error
        if not unpacking.eof:
            raise Unreadable("it is cut off, or far larger than any turn")
    return record.read(body)
