"""What vendors say of a prompt that is too long, word for word."""

from __future__ import annotations

import pytest

from moltbot_edge.core.overlong import Overlong, overlong


@pytest.mark.parametrize(
    ("message", "prompt", "window"),
    [
        ("request (3031 tokens) exceeds the available context size (512 tokens), try increasing it", 3031, 512),
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9100 tokens. "
            "Please reduce the length of the messages.",
            9100,
            8192,
        ),
        (
            "This model's maximum context length is 4097 tokens, however you requested 5200 tokens (4200 in the "
            "messages, 1000 in the completion). Please reduce the length of the messages or completion.",
            4200,
            4097,
        ),
        (
            "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens. Please "
            "reduce the length of the input messages.",
            5000,
            4096,
        ),
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 5000, 4096),
        ("prompt is too long: 208310 tokens > 200000 maximum", 208310, 200000),
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            1200000,
            1048576,
        ),
        (
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            40000,
            32768,
        ),
        ("the prompt is too long", None, None),
        ("request (99999999999999999999 tokens) exceeds the available context size (0 tokens)", None, None),
    ],
)
def test_the_numbers_of_a_refusal_are_read(message: str, prompt: int | None, window: int | None) -> None:
    assert overlong(message) == Overlong(prompt, window)
