"""What an Ollama answers who asks what it is, by path; its list of models is a recorded one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TAGS = (Path(__file__).parent / "recordings" / "ollama" / "tags.json").read_bytes()


def listing(*models: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(models)}


OLLAMA: dict[str, Any] = {
    "/v1/models": listing({"id": "deepseek-r1:8b", "object": "model", "owned_by": "library"}),
    "/api/version": {"version": "0.12.3"},
    "/api/tags": TAGS,
    "/api/ps": {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "context_length": 4096}]},
    "/api/show llama3.2:latest": {
        "capabilities": ["completion", "tools"],
        "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        "parameters": 'stop "<|eot_id|>"',
    },
    "/api/show bakllava:latest": {
        "capabilities": ["completion", "vision"],
        "model_info": {"general.architecture": "llama", "llama.context_length": 32768},
        "parameters": "num_ctx                        8192\nstop                           </s>",
    },
}
