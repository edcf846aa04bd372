"""What Claude Code sends, in shape: recorded of version 2.1.197 with `-p`, its texts replaced by our own.

Three blocks of a system prompt, the first for its maker's accounts; cache markers; a system message between the turns;
two dozen tools with long descriptions; adaptive thinking, an effort, a beta's field; `?beta=true` and beta names.
"""

from __future__ import annotations

from typing import Any, Final

PATH: Final = "/v1/messages?beta=true"
HEADERS: Final = (
    "anthropic-version: 2023-06-01",
    "anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "x-api-key: any",
    "x-app: cli",
    "user-agent: claude-cli/2.1.197 (external, sdk-cli)",
)
CACHED: Final = {"cache_control": {"type": "ephemeral"}}
NAMES: Final = (
    *("Agent", "Bash", "CronCreate", "CronDelete", "CronList", "Edit", "EnterWorktree", "ExitWorktree", "NotebookEdit"),
    *("Read", "ReportFindings", "ScheduleWakeup", "SendMessage", "Skill", "TaskCreate", "TaskGet", "TaskList"),
    *("TaskOutput", "TaskStop", "TaskUpdate", "WebFetch", "WebSearch", "Workflow", "Write"),
)
LONG: Final = "It is told at length what this is for and when not to use it. "
QUESTION: Final = "Say one and two with the shell"


def tool(name: str) -> dict[str, Any]:
    field = {"type": "string", "description": LONG}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"command": field, "description": field},
        "required": ["command"],
        "additionalProperties": False,
    }
    return {"name": name, "description": f"{name}: {LONG * 20}", "input_schema": schema}


def asked(model: str, *later: dict[str, Any], tools: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """The first request of a conversation, and with *later* messages one that goes on."""
    question = {"type": "text", "text": QUESTION}
    reminder = {"type": "text", "text": f"<system-reminder>\nThe date has changed.\n{LONG}\n</system-reminder>"}
    return {
        "model": model,
        "messages": [
            {"role": "user", "content": [reminder, question if later else question | CACHED]},
            {"role": "system", "content": f"Available agent types: {LONG * 40}"},
            *later,
        ],
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.3d9; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "You are an agent, built on an SDK."} | CACHED,
            {"type": "text", "text": f"\nYou are an interactive agent.\n\n{LONG * 80}"} | CACHED,
        ],
        "tools": [tool(name) for name in tools],
        "metadata": {"user_id": '{"device_id":"0","account_uuid":"","session_id":"1"}'},
        "max_tokens": 32000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
    }


def answered(*calls: dict[str, Any], results: dict[str, str]) -> list[dict[str, Any]]:
    """The turn that *calls* were, sent back with their *results* by id."""
    said = [
        {"tool_use_id": one, "type": "tool_result", "content": text, "is_error": False} for one, text in results.items()
    ]
    said[-1] |= CACHED
    return [{"role": "assistant", "content": list(calls)}, {"role": "user", "content": said}]
