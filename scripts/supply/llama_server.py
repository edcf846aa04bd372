"""`llama-server` made of the Python binding xllamacpp: the same flags, the same HTTP server, one process.

Copied beside the binding's library and run by itself; nothing imports it. The binding holds the whole of llama.cpp's
server and its reader of command lines, and offers only the former to Python. So the reader is called as the C++
function that it is, on the struct inside the binding's object. Its name and the struct's place are those of the one
release that ``scripts/parts.py`` pins by hash.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from pathlib import Path

LLAMA_EXAMPLE_SERVER = 12  # common/common.h, enum llama_example
READER = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"


# Turns that a thread spins for at a barrier before it sleeps, as libgomp itself takes where threads outnumber cores.
# Its 300,000 make a decode of 100 tokens/s one of 10 beside anything else that wants the cores.
GOMP_SPINCOUNT = "1000"


def main() -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", GOMP_SPINCOUNT)
    # Ctrl-C ends it as SIGTERM does, while a model loads too: Python's own handler would wait until that is over.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path.insert(0, str(Path(__file__).parent))
    binding = importlib.import_module("xllamacpp")
    parameters = binding.CommonParams()
    read = getattr(ctypes.CDLL(str(binding.__file__)), READER)
    read.restype = ctypes.c_bool
    words = [b"llama-server", *map(os.fsencode, sys.argv[1:])]
    struct = ctypes.c_void_p(id(parameters) + object.__basicsize__)
    # It answers --help and --version itself, and ends the process.
    if not read(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None), struct, LLAMA_EXAMPLE_SERVER, None):
        sys.exit(1)
    try:
        server = binding.Server(parameters)
    except RuntimeError as error:
        sys.exit(str(error))  # its log has told why
    while server:
        signal.pause()


if __name__ == "__main__":
    main()
