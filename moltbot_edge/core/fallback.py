"""What is asked for in a model's place, once it has failed or is too narrow. Names only: the catalog knows them.

A caller's own list comes before the configuration's. Nothing follows the list of one that was itself asked for in
another's place, so that two names may stand for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moltbot_edge.core.catalog import Route
from moltbot_edge.core.errors import GatewayError, PromptTooLong, UpstreamRefused


def instead(route: Route, wanted: Sequence[str], error: GatewayError) -> tuple[str, ...]:
    """The names to ask for after *error* of *route*, in order; *wanted* is the caller's list. Perhaps none."""
    if says_too_long(error):
        return route.context_fallbacks or tuple(wanted)
    return (tuple(wanted) or route.fallbacks) if error.retryable else ()


def says_too_long(error: GatewayError) -> bool:
    return isinstance(error, PromptTooLong) or (isinstance(error, UpstreamRefused) and error.too_long)


def too_narrow(route: Route, prompt_tokens: Callable[[str], float]) -> bool:
    """Whether no deployment of *route* takes a prompt of so many tokens, as its model counts."""
    return all(
        one.context_tokens is not None and prompt_tokens(one.model) > one.context_tokens for one in route.deployments
    )
