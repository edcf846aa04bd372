"""Whom TLS to an upstream believes. Not callers' TLS: its certificate is the configuration's.

SSL_CERT_FILE and SSL_CERT_DIR count alone where they are set, as with httpx; else the system's store, wherever the
distribution keeps it; else the bundle of certifi, inside the one-file binary or installed.

Source: the places are those of Go's ``crypto/x509/root_linux.go``; a folder of hashed names is openssl-rehash(1)'s.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from moltbot_edge import binary

FILES: Final = (
    "etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Raspberry Pi OS, Arch, NixOS
    "etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "etc/ssl/ca-bundle.pem",  # openSUSE
    "etc/pki/tls/cacert.pem",  # LibreELEC
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL 7, Fedora from 42
    "etc/ssl/cert.pem",  # Alpine
)
FOLDERS: Final = ("etc/ssl/certs", "etc/pki/tls/certs")
# Of such a folder OpenSSL reads what a handshake asks for: 12 KiB, 0.5 ms. A file of 144 is read whole: 860 KiB, 20 ms.
HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d+")
WHOLE_STORE: Final = 50  # certificates: public stores have some 140, a folder of somebody's own has a few
BUNDLE: Final = "certifi/cacert.pem"

# By X509_V_ERR_* of openssl-verify(1), where the store is not at fault.
ADVICE: Final[Mapping[int, str]] = {
    9: "is this machine's clock right?",
    10: "it has to be renewed there, if this machine's clock is right",
    62: "the endpoint has to name the machine as its certificate does",
    64: "the endpoint has to name the machine as its certificate does",
}


class NoCertificates(OSError):
    """There is nothing to check an upstream's certificate with; the message says where it was sought."""


class Trust(NamedTuple):
    """*where* the trusted certificates are, for whoever reads an error."""

    context: ssl.SSLContext
    where: str


class Certificates:
    """What is trusted, each store read once, when it is first needed. *environment* is the process's own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._read: dict[str | None, Trust] = {}

    def trust(self, ca_file: str | None = None) -> Trust:
        """What this machine trusts, or the certificates in *ca_file* and no others. Raises `NoCertificates`."""
        if ca_file not in self._read:
            self._read[ca_file] = trusted(self._environment) if ca_file is None else trusted_in(ca_file)
        return self._read[ca_file]


def trusted(environment: Mapping[str, str], root: Path = Path("/")) -> Trust:
    """What this machine trusts. Raises `NoCertificates`. *root* is the root of the file system."""
    file, folder = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    if file or folder:
        said = " and ".join(name for name, value in (("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)) if value)
        return _read(file or None, folder or None, said)
    return _system(root) or _bundled() or _nothing(root)


def trusted_in(file: str) -> Trust:
    """The certificates in *file*, PEM, and no others. Raises `NoCertificates`."""
    return _read(file, None, "ca_file")


def distrust(error: ssl.SSLCertVerificationError, trust: Trust) -> str:
    """What is wrong with an upstream's certificate, and what can be done about it."""
    advice = ADVICE.get(error.verify_code) or (
        f"trusted certificates were looked for in {trust.where}; "
        "a machine with a certificate of its own needs `ca_file` in its entry of model_registry"
    )
    return f"certificate verify failed: {error.verify_message.rstrip('.')}; {advice}"


def _system(root: Path) -> Trust | None:
    folders = {str(root / folder): _hashed(root / folder) for folder in FOLDERS}
    found = [folder for folder, count in folders.items() if count]
    if max(folders.values()) >= WHOLE_STORE:
        return _read(None, ":".join(found), "")
    for place in FILES:
        if (root / place).is_file():
            try:
                return _read(str(root / place), ":".join(found) or None, "")
            except NoCertificates:  # such as an empty file
                continue
    return None


def _hashed(folder: Path) -> int:
    try:
        return sum(1 for path in folder.iterdir() if HASHED.fullmatch(path.name))
    except OSError:
        return 0


def _bundled() -> Trust | None:
    inside = binary.data(BUNDLE)
    if inside is not None:
        context = _context()
        context.load_verify_locations(cadata=inside.decode("ascii", "ignore"))  # comments may be in any alphabet
        return Trust(context, "the certificates inside this file, as the system has none")
    try:
        import certifi  # type: ignore[import-not-found, unused-ignore]  # not one of our dependencies
    except ImportError:
        return None
    try:
        place = certifi.where()
    except OSError as error:  # its code is frozen into a file that has lost its end
        raise NoCertificates(
            f"the system has no certificates, and {sys.executable} not its own: it was copied in part, or removed since"
        ) from error
    return _read(place, None, "the package certifi, as the system has none")


def _nothing(root: Path) -> Trust:
    places = ", ".join(str(root / place) for place in (*FILES, *FOLDERS))
    raise NoCertificates(
        "no certificates to check an upstream's with; install your distribution's ca-certificates, or the Python "
        f"package certifi, or name a file in SSL_CERT_FILE; looked for: {places}"
    )


def _read(file: str | None, folder: str | None, name: str) -> Trust:
    """*name* says who named the places, where it was not the distribution."""
    said = f" ({name})" if name else ""
    context = _context()
    try:
        # OpenSSL does not say which of them, and takes a folder that is not there.
        if file is not None:
            open(file, "rb").close()
        for place in folder.split(":") if folder is not None else ():
            os.listdir(place)
        context.load_verify_locations(file, folder)
    except ssl.SSLError as error:
        raise NoCertificates(f"{file}{said} holds no certificate in PEM") from error
    except OSError as error:
        raise NoCertificates(f"{error.filename}{said} cannot be read: {error.strerror}") from error
    return Trust(context, " and ".join(place for place in (file, folder) if place) + said)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A box's own certificate may itself be the trusted one. What Python 3.13 asks beyond the chain, the host and the
    # time (VERIFY_X509_STRICT) certificates made at home and companies' proxies mostly lack.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
