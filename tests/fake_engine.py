"""Real processes that stand in for llama-server where it has to misbehave: they crash, hang, will not end.

Each is a script of Python's own; *does* is what it does once it was started with a port.
"""

from __future__ import annotations

import sys
from pathlib import Path

HELP = """\
-m,    --model FNAME                    model path to load
--host HOST                             ip address to listen
--port PORT                             port to listen
"""

_SCRIPT = """\
#!/bin/sh
''''exec "{python}" -IS "$0" "$@" # '''  # a shebang would end at the first space of Python's path
import os, signal, socket, sys, time
if "--help" in sys.argv:
    print({help!r})
    {on_help}
    raise SystemExit
port = int(sys.argv[sys.argv.index("--port") + 1])
model = sys.argv[sys.argv.index("--model") + 1]

def say(text):
    print(text, flush=True)

def serve(slots=lambda: b"[]"):
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            caller, _ = listener.accept()
            body = slots() if b"/slots" in caller.recv(65536) else b"{{}}"
            caller.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
            caller.close()

{does}
"""


def fake_engine(folder: Path, does: str, *, on_help: str = "") -> Path:
    program = folder / "llama-server"
    program.write_text(_SCRIPT.format(python=sys.executable, help=HELP, on_help=on_help, does=does))
    program.chmod(0o755)
    return program
