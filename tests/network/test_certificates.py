"""Which store is taken on which distribution, and what is said of a certificate that it does not vouch for."""

from __future__ import annotations

import re
import ssl
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import trustme

from moltbot_edge.network.certificates import (
    FILES,
    WHOLE_STORE,
    Certificates,
    NoCertificates,
    Trust,
    distrust,
    trusted,
)

AUTHORITY = trustme.CA()
OTHER = trustme.CA()


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """A file with the certificates of *authorities*, at *place* below a root file system that is a folder."""

    def write(place: str, *authorities: trustme.CA) -> Path:
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(one.cert_pem.bytes() for one in authorities))
        return file

    return write


@pytest.fixture(autouse=True)
def no_certifi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether somebody has installed it here must not matter."""
    monkeypatch.setitem(sys.modules, "certifi", None)


def believed(context: ssl.SSLContext, authority: trustme.CA = AUTHORITY) -> bool:
    return shakes_hands(context, authority.issue_cert("box.example"))


def shakes_hands(context: ssl.SSLContext, issued: trustme.LeafCert) -> bool:
    """Between two ends in memory."""
    certified = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(certified)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname="box.example")
    server = certified.wrap_bio(there, back, server_side=True)
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
    return True


@pytest.mark.parametrize("place", FILES)
def test_the_store_is_found_wherever_a_distribution_keeps_it(
    place: str, tmp_path: Path, store: Callable[..., Path]
) -> None:
    file = store(place, AUTHORITY)
    trust = trusted({}, tmp_path)
    assert trust.where == str(file)
    assert believed(trust.context)
    assert not believed(trust.context, OTHER)


def test_a_folder_of_hashed_names_is_a_store_that_is_not_read_before_it_is_needed(
    tmp_path: Path, store: Callable[..., Path]
) -> None:
    store("etc/ssl/certs/ca-certificates.crt", OTHER)
    for number in range(WHOLE_STORE):
        store(f"etc/ssl/certs/{number:08x}.0", OTHER)
    trust = trusted({}, tmp_path)
    assert trust.where == str(tmp_path / "etc/ssl/certs")
    assert trust.context.cert_store_stats()["x509"] == 0


def test_a_few_hashed_names_add_to_the_store_and_do_not_replace_it(tmp_path: Path, store: Callable[..., Path]) -> None:
    store("etc/ssl/ca-bundle.pem", AUTHORITY)
    store("etc/ssl/certs/0123abcd.0", OTHER)
    trust = trusted({}, tmp_path)
    assert trust.where == f"{tmp_path}/etc/ssl/ca-bundle.pem and {tmp_path}/etc/ssl/certs"
    assert believed(trust.context)


def test_an_empty_store_is_passed_over(tmp_path: Path, store: Callable[..., Path]) -> None:
    store(FILES[0])
    file = store(FILES[1], AUTHORITY)
    assert trusted({}, tmp_path).where == str(file)


def test_the_environment_counts_alone(tmp_path: Path, store: Callable[..., Path]) -> None:
    store(FILES[0], AUTHORITY)
    file = store("own.pem", OTHER)
    trust = trusted({"SSL_CERT_FILE": str(file)}, tmp_path)
    assert trust.where == f"{file} (SSL_CERT_FILE)"
    assert believed(trust.context, OTHER)
    assert not believed(trust.context)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_the_environment_names_has_to_be_there(variable: str, tmp_path: Path) -> None:
    with pytest.raises(NoCertificates, match=rf"none \({variable}\) cannot be read: No such file"):
        trusted({variable: str(tmp_path / "none")}, tmp_path)


def test_a_file_without_a_certificate_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("no certificate")
    with pytest.raises(NoCertificates, match=r"key\.pem .* holds no certificate in PEM"):
        Certificates({}).trust(str(file))


def test_where_there_is_no_store_the_binarys_own_bundle_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "moltbot-edge"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("certifi/cacert.pem", "# Főtanúsítvány\n".encode() + AUTHORITY.cert_pem.bytes())
    monkeypatch.setattr(sys, "executable", str(file))
    trust = trusted({}, tmp_path)
    assert "inside this file" in trust.where
    assert believed(trust.context)


def test_where_there_is_no_store_an_installed_certifi_counts(
    tmp_path: Path, store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    certifi = ModuleType("certifi")
    certifi.__dict__["where"] = lambda: str(store("site-packages/cacert.pem", AUTHORITY))
    monkeypatch.setitem(sys.modules, "certifi", certifi)
    trust = trusted({}, tmp_path)
    assert "certifi" in trust.where
    assert believed(trust.context)


def test_a_binary_that_was_copied_in_part_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def where() -> str:
        raise OSError("Can't open orphan path")  # as importlib.resources says of a frozen module

    certifi = ModuleType("certifi")
    certifi.__dict__["where"] = where
    monkeypatch.setitem(sys.modules, "certifi", certifi)
    with pytest.raises(NoCertificates, match=f"{sys.executable} not its own: it was copied in part"):
        trusted({}, tmp_path)


def test_where_there_is_nothing_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoCertificates) as raised:
        trusted({}, tmp_path)
    said = str(raised.value)
    assert "ca-certificates" in said
    assert "SSL_CERT_FILE" in said
    assert all(str(tmp_path / place) in said for place in FILES)


def test_a_store_is_read_once(store: Callable[..., Path]) -> None:
    file = store("ca.pem", AUTHORITY)
    certificates = Certificates({"SSL_CERT_FILE": str(file)})
    first, own = certificates.trust(), certificates.trust(str(file))
    file.unlink()
    assert certificates.trust() is first
    assert certificates.trust(str(file)) is own


def test_the_certificate_itself_can_be_the_trusted_one(tmp_path: Path) -> None:
    issued = AUTHORITY.issue_cert("box.example")
    file = tmp_path / "box.pem"
    issued.cert_chain_pems[0].write_to_path(str(file))
    assert shakes_hands(Certificates({}).trust(str(file)).context, issued)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (9, "is this machine's clock right"),
        (10, "renewed"),
        (62, "has to name the machine"),
        (20, "looked for in the store; .*ca_file"),
    ],
)
def test_each_objection_comes_with_what_to_do(code: int, said: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "the reason."
    objection = distrust(error, Trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "the store"))
    assert objection.startswith("certificate verify failed: the reason; ")
    assert re.search(said, objection)
