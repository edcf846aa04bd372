"""From a configuration to what callers can ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from moltbot_edge.config.catalog import catalog_of, engines_of, with_file
from moltbot_edge.config.schema import Alias, Config, Model, Router
from moltbot_edge.core.errors import UnknownModel

BOX, OTHER = "http://192.168.1.20:11434", "https://api.example.com/openai/v1/"


def test_an_endpoint_is_meant_with_v1_unless_it_has_a_path() -> None:
    catalog = catalog_of(
        Config(model_registry=[Model(name="a", endpoint=BOX), Model(name="b", endpoint=OTHER)]), {}, []
    )
    box, other = (catalog.routes[name].deployments[0].upstream for name in ("a", "b"))
    assert (box.host, box.port, box.base_path, box.scheme) == ("192.168.1.20", 11434, "/v1", "http")
    assert (other.host, other.port, other.base_path, other.scheme) == ("api.example.com", 443, "/openai/v1", "https")


def test_a_name_repeated_is_one_alias_whose_deployments_are_told_apart() -> None:
    models = [Model(name="chat", endpoint=url, weight=weight) for url, weight in ((BOX, 2), (OTHER, 1), (BOX, 3))]
    route = catalog_of(Config(model_registry=models, router=Router(attempts=2)), {}, []).routes["chat"]
    assert [one.name for one in route.deployments] == [
        "chat@192.168.1.20:11434",
        "chat@api.example.com:443",
        "chat@192.168.1.20:11434#2",
    ]
    assert [one.weight for one in route.deployments] == [2, 1, 3]
    assert route.attempts == 2


def test_an_alias_has_the_deployments_of_its_models_and_its_own_policy() -> None:
    config = Config(
        model_registry=[Model(name="small", endpoint=BOX), Model(name="large", endpoint=OTHER)],
        aliases={"gpt-4o-mini": "small", "any": Alias(models=["small", "large"], policy="round-robin")},
    )
    routes = catalog_of(config, {}, []).routes
    assert list(routes) == ["small", "large", "gpt-4o-mini", "any", "auto"]
    assert routes["gpt-4o-mini"].deployments == routes["small"].deployments
    assert [one.model for one in routes["any"].deployments] == ["small", "large"]
    assert (routes["any"].policy, routes["small"].policy) == ("round-robin", "fastest")


def test_files_found_are_served_unless_the_registry_has_them(tmp_path: Path) -> None:
    tiny, other = tmp_path / "tiny.gguf", tmp_path / "other.gguf"
    tiny.touch()
    config = Config(model_registry=[Model(name="mine", file="tiny.gguf", context_tokens=2048, engine_args=["--poll"])])
    catalog = catalog_of(config, {"tiny": tiny, "other": other}, [tmp_path])
    assert list(catalog.routes) == ["mine", "other", "auto"]
    assert {name: one.model_file for name, one in engines_of(catalog).items()} == {
        "mine": str(tiny),
        "other": str(other),
    }
    assert engines_of(catalog)["mine"].engine_args == ("--ctx-size", "2048", "--poll")


def test_two_files_of_one_name_are_two_engines() -> None:
    models = [Model(name="chat", file="/a.gguf"), Model(name="chat", file="/b.gguf")]
    catalog = catalog_of(Config(model_registry=models), {}, [])
    assert {name: one.model_file for name, one in engines_of(catalog).items()} == {
        "chat": "/a.gguf",
        "chat#2": "/b.gguf",
    }


def test_an_unknown_model_is_told_what_there_is() -> None:
    catalog = catalog_of(Config(model_registry=[Model(name="chat", endpoint=BOX)]), {}, [])
    with pytest.raises(UnknownModel, match="no model named 'cat'; configured: auto, chat"):
        catalog.route("cat")
    with pytest.raises(UnknownModel, match="add one to model_registry"):
        catalog_of(Config(), {}, []).route("cat")


def test_deployments_told_apart_still_know_the_name_that_they_share() -> None:
    settings = Config(
        model_registry=[
            Model(name="chat", endpoint="http://one", images=True),
            Model(name="chat", endpoint="http://two", tools=False),
            Model(name="small", endpoint="http://one"),
        ]
    )
    routes = catalog_of(settings, {}, []).routes
    assert [(one.name, one.shared_name) for one in routes["chat"].deployments] == [
        ("chat@one:80", "chat"),
        ("chat@two:80", "chat"),
    ]
    assert [(one.tools, one.images) for one in routes["chat"].deployments] == [(None, True), (False, None)]
    assert routes["small"].deployments[0].shared_name == "small"


def test_auto_is_any_model_unless_an_alias_says_which() -> None:
    models = [Model(name="small", endpoint=BOX), Model(name="large", endpoint=OTHER), Model(name="x/*", endpoint=OTHER)]
    catalog = catalog_of(Config(model_registry=models), {}, [])
    assert [one.model for one in catalog.route("auto").deployments] == ["small", "large"]
    assert catalog.names() == ["small", "large", "auto"]
    chosen = catalog_of(Config(model_registry=models, aliases={"auto": "large"}), {}, [])
    assert [one.model for one in chosen.route("auto").deployments] == ["large"]
    alone = catalog_of(Config(model_registry=models[:1]), {}, [])
    assert alone.names() == ["small"]  # with nothing to choose from it works, and is no news
    assert [one.model for one in alone.route("auto").deployments] == ["small"]


@pytest.mark.parametrize(
    ("name", "model", "asked", "upstream"),
    [
        ("openai/*", None, "openai/gpt-4o", "gpt-4o"),
        ("*", None, "any/thing", "any/thing"),
        ("box-*-small", "qwen*", "box-3-small", "qwen3"),
        ("claude-*", "llama3", "claude-opus-4", "llama3"),
    ],
)
def test_a_pattern_serves_every_name_that_fits(name: str, model: str | None, asked: str, upstream: str) -> None:
    catalog = catalog_of(Config(model_registry=[Model(name=name, model=model, endpoint=BOX)]), {}, [])
    route = catalog.route(asked)
    assert route.alias == name  # what is counted does not grow with callers' inventions
    assert [(one.name, one.model) for one in route.deployments] == [(name, upstream)]
    assert catalog.names() == []


def test_a_name_of_its_own_comes_before_a_pattern_and_a_long_pattern_before_a_short_one() -> None:
    models = [Model(name=name, endpoint=BOX) for name in ("*", "openai/*", "openai/gpt-*", "openai/gpt-4o")]
    catalog = catalog_of(Config(model_registry=models, aliases={"claude-*": "openai/gpt-4o"}), {}, [])
    found = {
        asked: catalog.route(asked).deployments[0].model for asked in ("openai/gpt-4o", "openai/gpt-5", "openai/o1")
    }
    assert found == {"openai/gpt-4o": "openai/gpt-4o", "openai/gpt-5": "5", "openai/o1": "o1"}
    assert catalog.route("claude-opus").deployments[0].model == "openai/gpt-4o"
    assert catalog.route("else").deployments[0].model == "else"


def test_the_pattern_itself_is_no_name() -> None:
    catalog = catalog_of(Config(model_registry=[Model(name="openai/*", endpoint=BOX)]), {}, [])
    for asked in ("openai", "openai/*/*", "anthropic/openai/x"):
        with pytest.raises(UnknownModel):
            catalog.route(asked)


def test_a_route_knows_what_to_ask_for_when_it_fails() -> None:
    config = Config(
        model_registry=[Model(name="small", endpoint=BOX), Model(name="large", endpoint=OTHER)],
        router=Router(fallbacks={"small": ["large"]}, context_fallbacks={"small": ["large"]}),
    )
    catalog = catalog_of(config, {}, [])
    assert catalog.route("small").fallbacks == catalog.route("small").context_fallbacks == ("large",)
    assert catalog.route("large").fallbacks == ()


def test_no_two_deployments_have_one_name_whatever_others_are_called() -> None:
    models = [Model(name="chat", endpoint=BOX, api_key=key) for key in ("one", "two")]
    first = catalog_of(Config(model_registry=models), {}, []).routes["chat"].deployments[0].name
    models.append(Model(name=first, endpoint=OTHER, api_key="three"))
    catalog = catalog_of(Config(model_registry=models), {}, [])
    deployments = [one for alias in ("chat", first) for one in catalog.routes[alias].deployments]
    assert len({one.name for one in deployments}) == 3


def test_auto_is_any_model_also_where_none_was_there_at_the_start(tmp_path: Path) -> None:
    catalog = catalog_of(Config(), {}, [])
    for name in ("one", "two"):
        found = with_file(catalog, Config(), name, tmp_path / f"{name}.gguf")
        assert found is not None
        catalog = found
    assert [one.name for one in catalog.route("auto").deployments] == ["one", "two"]
