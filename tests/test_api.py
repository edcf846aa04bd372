"""What a plug-in imports is all there, and what the documentation shows of it works as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import msgspec
import yaml

from moltbot_edge import api
from moltbot_edge.api import Candidate, Deployment, RouteQuery, Standing, Upstream
from moltbot_edge.config.schema import Config
from moltbot_edge.core import errors
from moltbot_edge.core.staying import settled
from moltbot_edge.kernel.discover import in_folder
from moltbot_edge.kernel.registry import Registry

PAGE = Path(__file__).parent.parent / "docs" / "extend.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def registry_of(folder: Path, *sources: str) -> Registry:
    folder.chmod(0o755)
    for number, source in enumerate(sources):
        (folder / f"own_{number}.py").write_text(source)
    found = in_folder(folder)
    assert found.problems == ()
    return Registry(found.plugins)


def candidate(host: str, in_flight: int = 0) -> Candidate:
    upstream = Upstream(host, "http", host, 11434, "/v1")
    return Candidate(Deployment(host, upstream, "qwen3:4b"), Standing(in_flight=in_flight))


CLOUD, BOX = candidate("api.example.com"), candidate("192.168.1.20", in_flight=1)


def test_everything_named_is_there_and_every_error_is_named() -> None:
    assert all(hasattr(api, name) for name in api.__all__)
    tree = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert tree <= set(api.__all__)


def test_the_policy_of_the_page_works_with_the_configuration_of_the_page(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, *blocks("python"))
    config = msgspec.convert(yaml.safe_load(blocks("yaml")[0]), Config)
    alias = config.aliases["chat"]
    assert not isinstance(alias, str)
    assert alias.policy == "local-first"
    local_first = registry.build("policy", alias.policy, alias.options)
    assert local_first([CLOUD, BOX], RouteQuery("chat", prompt_tokens=1500)) == [BOX, CLOUD]
    assert local_first([CLOUD, BOX], RouteQuery("chat", prompt_tokens=1501)) == [CLOUD, BOX]


def test_the_function_of_the_page_works(tmp_path: Path) -> None:
    idle_first = registry_of(tmp_path, *blocks("python")).build("policy", "idle-first")
    assert idle_first([BOX, CLOUD], RouteQuery("chat")) == [CLOUD, BOX]


def test_the_one_of_the_page_that_only_spreads_leaves_a_kept_conversation_where_it_is(tmp_path: Path) -> None:
    at_random = registry_of(tmp_path, *blocks("python")).build("policy", "at-random")
    query = RouteQuery("chat", chance=0.5, stays=CLOUD.deployment.name)
    said = at_random([CLOUD, BOX], query)
    assert said.order == [BOX, CLOUD]
    assert settled(said, [CLOUD, BOX], query).order == (CLOUD, BOX)


def test_the_example_of_the_docstring_is_the_one_of_the_page() -> None:
    assert api.__doc__ is not None
    example = textwrap.dedent(api.__doc__.partition("::\n")[2]).strip()
    assert example == blocks("python")[0].strip()
    assert len(example[example.index("@policy") :].splitlines()) <= 10
