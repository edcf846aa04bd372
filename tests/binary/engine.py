"""A llama-server that loads nothing, for a place that may hold no interpreter; `engine.c` says what it does.

On this machine itself it is a script of Python's. For a root of its own it is compiled to a static program, by the
compiler that the file under test was built with; it stays in the build's cache.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Literal, cast

from binary.place import Place
from fake_engine import fake_engine
from gguf_file import chat_model
from scripted_upstream import completion

from qemu.usermode.emulator import register

SOURCE = Path(__file__).with_name("engine.c")
SAYS = "from the engine"
_DOES = f"""
with socket.create_server(("127.0.0.1", port)) as listener:
    while True:
        caller, _ = listener.accept()
        asked = caller.recv(65536)
        body = {completion(SAYS)!r} if asked.startswith(b"POST") else b"[]" if b"/slots" in asked else b"{{}}"
        head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
        caller.sendall(head + body)
        caller.close()
"""


def with_engine(place: Place) -> str:
    """Puts an engine and a model, `small`, into *place*. Returns the configuration's path."""
    if place.target.rooted:
        register(place.target.arch)
        command = place.ground.bring(compiled(place.target.arch), "/llama-server")
    else:
        place.ground.outside("/engine").mkdir()
        command = str(fake_engine(place.ground.outside("/engine"), _DOES))
    place.put("/models/small.gguf", chat_model())
    config = {"model_registry": [{"name": "small", "file": "small.gguf"}], "engines": {"command": command}}
    return place.put("/moltbot.yaml", json.dumps({**config, "model_store": place.inside("/models")}))


def compiled(arch: str) -> Path:
    from build.binary.store import Store
    from build.binary.toolchain import Target, tools

    store = Store()
    compiler = tools(store, Target(cast(Literal["x86_64", "aarch64"], arch)))
    words = ["-static", "-O1", "-s", "-D_GNU_SOURCE"]

    def make(folder: Path) -> None:
        subprocess.run([compiler.command("cc"), *words, "-o", folder / "llama-server", SOURCE], check=True)

    inputs = {"source": SOURCE.read_text(), "compiler": compiler.version, "for": arch, "words": words}
    return store.step(f"test-engine-{arch}", inputs, make, does="compiles the tests' engine").folder / "llama-server"
