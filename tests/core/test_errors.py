"""The tree of errors is whole, and is as it is drawn."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from moltbot_edge.core import errors
from moltbot_edge.core.errors import CallerError, GatewayError, InvalidRequest, UpstreamError, UpstreamRefused, leaves

PACKAGE = Path(errors.__file__).parent.parent
DRAWN = re.compile(r"^ {4}(?P<rails>[| ]*)(?:[|`]- )?(?P<name>[A-Z]\w+)(?: +(?P<status>\d{3}))?", re.MULTILINE)


def every(root: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    here = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(error for child in here for error in every(child))]


def made(error: type[GatewayError]) -> GatewayError:
    if error is UpstreamRefused:
        return UpstreamRefused("it said no", answered=429, body=b"{}", content_type=b"application/json")
    return error("what went wrong", param="model", retry_after_s=3.0)


def test_the_drawing_shows_every_error_below_its_parent_with_its_status() -> None:
    assert errors.__doc__ is not None
    above: list[str] = []
    drawn = []
    for match in DRAWN.finditer(errors.__doc__):
        depth = (match.start("name") - match.start()) // 3 - 1
        del above[depth:]
        drawn.append((match["name"], above[-1] if above else "Exception"))
        if match["status"]:
            assert getattr(errors, match["name"]).status == int(match["status"]), match["name"]
        above.append(match["name"])
    assert sorted(drawn) == sorted((error.__name__, error.__bases__[0].__name__) for error in every())


def test_no_error_of_the_tree_is_defined_elsewhere() -> None:
    # A private one that never leaves its module is not of the tree.
    names = {error.__name__ for error in every()}
    for path in PACKAGE.rglob("*.py"):
        if path == Path(errors.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases = {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
                assert not bases & names, f"{path.name}: {node.name} belongs in core/errors.py, into the tree"


def test_every_error_that_is_raised_has_a_code_of_its_own() -> None:
    codes = [error.code for error in leaves() if error is not InvalidRequest]
    assert None not in codes
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("error", leaves())
def test_status_and_blame_agree(error: type[GatewayError]) -> None:
    if issubclass(error, CallerError):
        assert 400 <= error.status < 500
        assert not error.retryable, "asking another upstream does not help what the caller did wrong"
    else:
        assert 500 <= error.status < 600
    if issubclass(error, UpstreamError):
        assert error.retryable


@pytest.mark.parametrize(("answered", "retryable"), [(400, False), (422, False), (401, True), (429, True), (500, True)])
def test_a_refusal_is_tried_elsewhere_unless_the_request_is_at_fault(answered: int, retryable: bool) -> None:
    refused = UpstreamRefused("it said no", answered=answered, body=b"{}", content_type=b"application/json")
    assert refused.retryable is retryable


@pytest.mark.parametrize("error", leaves())
def test_an_error_keeps_what_it_was_told(error: type[GatewayError]) -> None:
    raised = made(error)
    assert str(raised) == raised.message
    assert (raised.param, raised.retry_after_s) == ((None, None) if error is UpstreamRefused else ("model", 3.0))


@pytest.mark.parametrize(
    ("status", "body", "too_long"),
    [
        (400, b'{"error":{"code":"context_length_exceeded","message":"..."}}', True),  # OpenAI
        (400, b'{"error":{"code":400,"type":"exceed_context_size_error","n_ctx":512}}', True),  # llama-server
        (400, b'{"object":"error","message":"This model\'s maximum context length is 4096 tokens."}', True),  # vLLM
        (400, b'{"type":"error","error":{"message":"prompt is too long: 210000 tokens > 200000"}}', True),  # Anthropic
        (500, b'{"error":"the input length exceeds the context length"}', True),  # Ollama
        (400, b'{"error":{"message":"messages: roles must alternate"}}', False),
        (429, b'{"error":{"message":"too many requests with a long context window"}}', False),
    ],
)
def test_a_prompt_that_is_too_long_for_an_upstream_is_told_apart(status: int, body: bytes, too_long: bool) -> None:
    assert UpstreamRefused("no", answered=status, body=body, content_type=b"application/json").too_long is too_long
