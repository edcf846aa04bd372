"""libffi, by which ctypes calls functions in C: small, and modules in C from elsewhere often want ctypes.

Its sources come without a configure script, and need none for two machines: what that would find out stands here.
Source: libffi's configure.ac and configure.host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from build.binary.libraries import Library
from build.binary.sources import Shelf
from build.binary.store import Store
from build.binary.toolchain import Architecture, Target, tools


@dataclass(frozen=True)
class Port:
    """*name* as ``ffi.h`` has it, *folder* that of the machine's files below ``src``."""

    name: str
    folder: str
    files: tuple[str, ...]


PORTS: Final[Mapping[Architecture, Port]] = {
    # The second pair is Windows' convention, which a function pointer may ask for on any system.
    "x86_64": Port("X86_64", "x86", ("ffi64.c", "unix64.S", "ffiw64.c", "win64.S")),
    "aarch64": Port("AARCH64", "aarch64", ("ffi.c", "sysv.S")),
}
EVERYWHERE: Final = ("prep_cif.c", "types.c", "raw_api.c", "java_raw_api.c", "closures.c", "tramp.c")

FOUND_OUT: Final = """\
#define EH_FRAME_FLAGS "a"
#define HAVE_ALLOCA_H 1
#define HAVE_AS_CFI_PSEUDO_OP 1
#define HAVE_AS_X86_64_UNWIND_SECTION_TYPE 1
#define HAVE_AS_X86_PCREL 1
#define HAVE_HIDDEN_VISIBILITY_ATTRIBUTE 1
#define HAVE_LONG_DOUBLE 1
#define HAVE_MEMCPY 1
#define HAVE_MKOSTEMP 1
#define HAVE_MMAP 1
#define HAVE_MNTENT 1
#define HAVE_RO_EH_FRAME 1
#define SIZEOF_DOUBLE 8
#define SIZEOF_LONG_DOUBLE 16
#define SIZEOF_SIZE_T 8
#define STDC_HEADERS 1
#ifdef LIBFFI_ASM
#define FFI_HIDDEN(name) .hidden name
#else
#define FFI_HIDDEN __attribute__((visibility("hidden")))
#endif
"""

COMPILED: Final = """
mkdir "$OUT/include" "$OUT/lib"
sed "s/@VERSION@/$VERSION/; s/@TARGET@/$PORT/; s/@HAVE_LONG_DOUBLE@/1/; s/@FFI_EXEC_TRAMPOLINE_TABLE@/0/" \
    "$SOURCE/source/include/ffi.h.in" > "$OUT/include/ffi.h"
cp "$SOURCE/source/src/$FOLDER/ffitarget.h" "$OUT/include"
printf '%s' "$FOUND_OUT" > fficonfig.h
for file in $FILES; do
    $CC $COMPILE_FLAGS -O2 -w -I. -I"$OUT/include" -I"$SOURCE/source/include" -c "$SOURCE/source/src/$file" \
        -o "$(echo "$file" | tr / -).o"
done
$AR rcs "$OUT/lib/libffi.a" *.o
"""


def libffi(store: Store, target: Target) -> Library:
    pin, source = Shelf(store).debian("libffi")
    port, toolset = PORTS[target.architecture], tools(store, target)
    step = store.recipe(
        f"libffi-{target.triple}",
        COMPILED,
        uses={"SOURCE": source},
        settings={
            **toolset.settings,
            "COMPILE_FLAGS": " ".join(target.compile_flags),
            "VERSION": pin.upstream_version,
            "PORT": port.name,
            "FOLDER": port.folder,
            "FILES": " ".join((*EVERYWHERE, *(f"{port.folder}/{file}" for file in port.files))),
            "FOUND_OUT": FOUND_OUT,
        },
        path=(toolset.folder,),
        does="compiles libffi",
    )
    return Library(pin, step, ("libffi.a",))
