"""The promised part of Python's library works, not only its import: some of it imports more by name when it is used."""

from __future__ import annotations

import json

from binary.place import Place

# Loaded as a plug-in file, which is how one's own Python runs in the executable.
TRIES = r"""
import asyncio, contextlib, csv, dataclasses, datetime, decimal, difflib, email, email.policy, fractions, gzip
import hashlib, inspect, io, json, pprint, secrets, sqlite3, ssl, statistics, sys, threading, time, tomllib, traceback
import unicodedata, urllib.parse, uuid, warnings, xml.etree.ElementTree, zipfile


def zipped():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("name", "content")
    # An archive from a system that knows no UTF-8: its names are in code page 437.
    old = packed.getvalue().replace(b"name", b"n\x84me")
    return zipfile.ZipFile(io.BytesIO(old)).namelist()


def dumped():
    with contextlib.closing(sqlite3.connect(":memory:")) as base:
        base.execute("create table t (a)")
        base.execute("insert into t values ('\u00e4')")
        return list(base.iterdump())[2]


def warned():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    return str(caught[0].message)


def failed():
    try:
        raise ExceptionGroup("two", [ValueError("one"), KeyError("other")])
    except ExceptionGroup:
        return "KeyError: 'other'" in traceback.format_exc()


async def slept():
    async with asyncio.TaskGroup() as group:
        done = group.create_task(asyncio.to_thread(lambda: "slept"))
    return done.result()


def long_number():
    sys.set_int_max_str_digits(0)
    return len(str(int("9" * 20_000) + 1))


Point = dataclasses.make_dataclass("Point", ["x", "y"])

TRIES = {
    "names of hosts": (lambda: "b\u00fccher.example".encode("idna"), b"xn--bcher-kva.example"),
    "codecs": (lambda: ["\u00e4".encode(name) for name in ("cp1252", "utf-16-le", "unicode_escape")][0], b"\xe4"),
    "json in UTF-16": (lambda: json.loads('{"a": 1}'.encode("utf-16")), {"a": 1}),
    "zipfile": (zipped, ["n\u00e4me"]),
    "gzip": (lambda: gzip.decompress(gzip.compress(b"x" * 99)), b"x" * 99),
    "sqlite3": (dumped, "INSERT INTO \"t\" VALUES('\u00e4');"),
    "datetime": (lambda: datetime.datetime.strptime("3 Mar 2025", "%d %b %Y").month, 3),
    "time": (lambda: time.strptime("12:30", "%H:%M").tm_min, 30),
    "decimal": (lambda: str(decimal.Decimal(1) / 7)[:6], "0.1428"),
    "fractions": (lambda: str(fractions.Fraction("0.125")), "1/8"),
    "statistics": (lambda: statistics.median([3, 1, 2]), 2),
    "long numbers": (long_number, 20_001),
    "xml": (lambda: xml.etree.ElementTree.fromstring("<a><b c='d'/></a>").find("./b[@c]").get("c"), "d"),
    "csv": (lambda: next(csv.DictReader(io.StringIO("a,b\n1,2\n"))), {"a": "1", "b": "2"}),
    "tomllib": (lambda: tomllib.loads("a = 1979-05-27")["a"].year, 1979),
    "email": (
        lambda: email.message_from_string("Subject: =?utf-8?q?=C3=A4?=\n\n", policy=email.policy.default)["subject"],
        "\u00e4",
    ),
    "names of characters": (lambda: ("\N{BULLET}", unicodedata.name("!")), ("\u2022", "EXCLAMATION MARK")),
    "digests": (lambda: [len(hashlib.new(name).digest()) for name in ("md5", "sha1", "sha3_512")], [16, 20, 64]),
    "keys": (lambda: len(hashlib.scrypt(b"a", salt=b"b", n=2, r=1, p=1)) + len(secrets.token_bytes(8)), 72),
    "ssl": (lambda: ssl.create_default_context().verify_mode.name, "CERT_REQUIRED"),
    "dataclasses": (lambda: dataclasses.asdict(Point(1, y=2)), {"x": 1, "y": 2}),
    "inspect": (lambda: list(inspect.signature(Point).parameters), ["x", "y"]),
    "difflib": (lambda: difflib.get_close_matches("appel", ["ape", "apple"])[0], "apple"),
    "pprint": (lambda: pprint.pformat({"b": 1, "a": [2]}), "{'a': [2], 'b': 1}"),
    "urllib": (lambda: urllib.parse.urlsplit("http://[::1]:8080/a?b").port, 8080),
    "uuid": (lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "a").version, 5),
    "asyncio": (lambda: asyncio.run(slept()), "slept"),
    "warnings": (warned, "careful"),
    "traceback": (failed, True),
}

# asyncio.run wants a thread without a running loop; a plug-in may be loaded inside one.
wrong = {}


def tried():
    for name, (act, wanted) in TRIES.items():
        try:
            found = act()
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"
        else:
            if found != wanted:
                wrong[name] = repr(found)


thread = threading.Thread(target=tried)
thread.start()
thread.join()
print(json.dumps(wrong), file=sys.stderr)
"""


def test_what_a_plugin_is_promised_works(place: Place) -> None:
    place.put("/plugins/tries.py", TRIES)
    file = place.put("/moltbot.yaml", json.dumps({"plugins": {"folder": place.inside("/plugins")}}))
    done = place.run("plugins", "--config", file)
    assert json.loads(done.errors) == {}
