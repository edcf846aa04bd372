"""The C libraries under the interpreter, each a folder with ``include/`` and ``lib/`` of static archives.

What is switched off in them is what no caller and no upstream of today asks for; the reason stands beside each group.
Archives are compiled for size, except where bytes of traffic pass through (zlib). Not here: what links them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from build.binary.pins import DebianPin
from build.binary.sources import Shelf
from build.binary.store import Step, Store
from build.binary.toolchain import Target, tools

# Kept: TLS 1.2 and 1.3; RSA, ECDSA, Ed25519; X25519, P-256, P-384, P-521; AES and ChaCha20; SHA-1, 2 and 3; PKCS #8.
OPENSSL_WITHOUT: Final = {
    "what a static program cannot load": "shared pic dso engine module legacy afalgeng uplink autoload-config",
    "what musl cannot do": "async",
    "programs and papers": "tests apps docs",
    "protocols that nobody should speak any more": "ssl3 ssl3-method tls1 tls1-method tls1_1 tls1_1-method",
    "protocols that are not asked of a gateway": "dtls quic srp psk cms ts ct cmp http rfc3779 nextprotoneg comp sctp",
    "ciphers and digests out of use": (
        "aria bf camellia cast des gost idea md4 mdc2 ocb rc2 rc4 rmd160 seed siphash siv sm2 sm3 sm4 whirlpool argon2"
    ),
    "keys out of use, or not yet in it": "dsa ec2m ml-dsa ml-kem slh-dsa",
    "what only OpenSSL's own developers read": "filenames trace ui-console",
    "threads of its own": "thread-pool default-thread-pool",
    "a way round a slow path of processors without AES instructions in parallel": "multiblock",
}

# Of AES-GCM and AES-XTS for AVX-512 it has 700 KB, and leaves them out when it takes the assembler for an old one.
OPENSSL: Final = """
"$SOURCE/source/Configure" "linux-$ARCHITECTURE" $OPTIONS \
    --prefix=/usr --libdir=lib --openssldir=/etc/ssl $COMPILE_FLAGS
if [ "$ARCHITECTURE" = x86_64 ]; then
    make CC='echo GNU assembler version 2.20' crypto/modes/aes-gcm-avx512.s crypto/aes/aesni-xts-avx512.s
fi
make -j"$JOBS" build_libs
make -j"$JOBS" install_dev DESTDIR="$WORK/installed"
mv "$WORK/installed/usr/include" "$OUT/include"
mkdir "$OUT/lib"
mv "$WORK"/installed/usr/lib/lib*.a "$OUT/lib"
"""

ZLIB: Final = """
cp -R "$SOURCE/source/." .
CFLAGS="$COMPILE_FLAGS" CHOST="$HOST" ./configure --static --prefix=/usr
make -j"$JOBS" libz.a
mkdir "$OUT/include" "$OUT/lib"
cp zlib.h zconf.h "$OUT/include"
cp libz.a "$OUT/lib"
"""

# The one file that all of SQLite's files are made into, by Tcl and the machine's own compiler, once for all targets.
SQLITE_AMALGAMATION: Final = """
CC=gcc "$SOURCE/source/configure" --disable-readline
make sqlite3.c
cp sqlite3.c sqlite3.h sqlite3ext.h "$OUT"
"""

# Double-quoted text stays accepted (SQLITE_DQS is not set to 0): diskcache writes it.
SQLITE_OPTIONS: Final = (
    "-DSQLITE_THREADSAFE=1",
    "-DSQLITE_OMIT_LOAD_EXTENSION",
    "-DSQLITE_OMIT_DEPRECATED",
    "-DSQLITE_OMIT_SHARED_CACHE",
    "-DSQLITE_MAX_EXPR_DEPTH=0",
    "-DSQLITE_DEFAULT_MEMSTATUS=0",
    "-DSQLITE_LIKE_DOESNT_MATCH_BLOBS",
    "-DHAVE_USLEEP=1",
    "-DHAVE_FDATASYNC=1",
)

SQLITE: Final = """
$CC $COMPILE_FLAGS $OPTIONS -I"$AMALGAMATION" -c "$AMALGAMATION/sqlite3.c" -o sqlite3.o
mkdir "$OUT/include" "$OUT/lib"
$AR rcs "$OUT/lib/libsqlite3.a" sqlite3.o
cp "$AMALGAMATION"/sqlite3*.h "$OUT/include"
"""


@dataclass(frozen=True)
class Library:
    """A library compiled for a target. *archives* are in the order in which a linker wants them."""

    pin: DebianPin
    step: Step
    archive_names: tuple[str, ...]

    @property
    def prefix(self) -> Path:
        return self.step.folder

    @property
    def include(self) -> Path:
        return self.prefix / "include"

    @property
    def archives(self) -> tuple[Path, ...]:
        return tuple(self.prefix / "lib" / name for name in self.archive_names)


def openssl(store: Store, target: Target) -> Library:
    pin, source = Shelf(store).debian("openssl")
    without = [f"no-{name}" for names in OPENSSL_WITHOUT.values() for name in names.split()]
    if not target.static:
        without.remove("no-pic")
    step = _compiled(
        store, target, "openssl", OPENSSL, source, target.size_flags,
        "compiles TLS and hashes, the longest step but one",
        ARCHITECTURE=target.architecture, OPTIONS=" ".join(without),
    )  # fmt: skip
    return Library(pin, step, ("libssl.a", "libcrypto.a"))


def zlib(store: Store, target: Target) -> Library:
    pin, source = Shelf(store).debian("zlib")
    return Library(pin, _compiled(store, target, "zlib", ZLIB, source, "-O2", "compiles zlib"), ("libz.a",))


def sqlite(store: Store, target: Target) -> Library:
    pin, source = Shelf(store).debian("sqlite3")
    amalgamation = store.recipe(
        "sqlite-amalgamation", SQLITE_AMALGAMATION, uses={"SOURCE": source}, does="makes SQLite's one file"
    )
    toolset = tools(store, target)
    step = store.recipe(
        f"sqlite-{target.triple}",
        SQLITE,
        uses={"AMALGAMATION": amalgamation},
        settings={
            **toolset.settings,
            "COMPILE_FLAGS": " ".join((*target.compile_flags, target.size_flags)),
            "OPTIONS": " ".join(SQLITE_OPTIONS),
        },
        path=(toolset.folder,),
        does="compiles SQLite",
    )
    return Library(pin, step, ("libsqlite3.a",))


def _compiled(
    store: Store, target: Target, name: str, script: str, source: Step, optimise: str, does: str, **settings: str
) -> Step:
    toolset = tools(store, target)
    return store.recipe(
        f"{name}-{target.triple}",
        script,
        uses={"SOURCE": source},
        settings={
            **toolset.settings,
            "HOST": target.host,
            "COMPILE_FLAGS": " ".join((*target.compile_flags, optimise)),
            **settings,
        },
        path=(toolset.folder,),
        does=does,
    )
