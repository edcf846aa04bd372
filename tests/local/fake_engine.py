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

_SCRIPT = '''\
#!{python} -IS
import os, signal, socket, sys, time
if "--help" in sys.argv:
    print({help!r})
    raise SystemExit
port = int(sys.argv[sys.argv.index("--port") + 1])
model = sys.argv[sys.argv.index("--model") + 1]

def say(text):
    print(text, flush=True)

def serve(answers=10**9, slots=b"[]"):
    with socket.create_server(("127.0.0.1", port)) as listener:
        for _ in range(answers):
            caller, _ = listener.accept()
            asked = caller.recv(65536)
            body = slots if b"/slots" in asked else b"{{}}"
            caller.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
            caller.close()

{does}
'''


def fake_engine(folder: Path, does: str, *, help_text: str = HELP, name: str = "llama-server") -> Path:
    program = folder / name
    program.write_text(_SCRIPT.format(python=sys.executable, help=help_text, does=does))
    program.chmod(0o755)
    return program
