"""The walk along the types: it takes what msgspec takes, and says more of what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect as mi
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from moltbot_edge.config.decode import Decoded, decode, scalar_paths
from moltbot_edge.config.document import parse
from moltbot_edge.config.schema import Config
from moltbot_edge.config.tree import outside, with_value


def decoded(text: str, environment: Mapping[str, str] | None = None, folder: Path = Path("/etc/moltbot")) -> Decoded:
    tree, problems = parse(text.encode(), "f.yaml")
    assert problems == []
    return decode(tree, environment or {}, folder)


def config(text: str, environment: Mapping[str, str] | None = None) -> Config:
    found = decoded(text, environment)
    assert found.problems == []
    return found.config


def problems(text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    return [str(one).removeprefix("f.yaml:") for one in decoded(text, environment).problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server: {port: 70000}", "server.port: expected a whole number from 0 to 65535, found 70000 (default: 8080)"),
        (
            "server: {port: '80'}",
            "server.port: expected a whole number from 0 to 65535, found '80': leave out the quotes (default: 8080)",
        ),
        ("server: {port: true}", "server.port: expected a whole number from 0 to 65535, found true, which YAML reads"),
        ("server: {port: 80.5}", "server.port: expected a whole number from 0 to 65535, found 80.5"),
        ("server: {port: }", "server.port: expected a whole number from 0 to 65535, found nothing"),
        ("server: {host: ''}", "server.host: expected text that is not empty, found '' (default: 127.0.0.1)"),
        (
            "server: {log_level: Warn}",
            "server.log_level: expected one of debug, error, info, warning, found 'Warn'; did you mean `warning`?",
        ),
        ("server: [1]", "server: expected a section with host, port, log_level, tls, found a list"),
        ("keys: {a: b}", "keys: expected a list, found a section"),
        ("aliases: [a]", "aliases: expected a section of names, found a list"),
        (
            "aliases: {a: [b]}",
            "aliases.a: expected text or a section with models, policy, options, leave_lan, found a list",
        ),
        ("aliases: {gpt-4.1: 4}", 'aliases["gpt-4.1"]: expected text'),
        ("aliases: {a: {models: []}}", "aliases.a.models: expected at least 1 in the list, found 0"),
        ("limits: {queue: 0}", "limits.queue: expected a whole number, 1 or more, found 0 (default: 256)"),
        ("limits: {queue_s: 0}", "limits.queue_s: expected a number above 0, found 0 (default: 60)"),
        ("limits: {queue_s: .inf}", "limits.queue_s: expected a number above 0, found .inf"),
        ("model_store: 12:30", "model_store: expected text that is not empty, found 12:30: put it in quotes"),
        ("tool_integration: {search: {}}", "tool_integration.search: the field `type` is missing"),
        ("model_registry: [{name: a, private: 'yes'}]", "model_registry[0].private: expected true or false, found 'y"),
        (
            "model_registry: [{name: a, endpoint: 'box:11434'}]",
            "model_registry[0].endpoint: expected a URL such as http://box:11434, found 'box:11434'",
        ),
        ("sever: {}", "sever: unknown field; did you mean `server`?"),
        ("router: {strategy: x}", "router.strategy: unknown field; there are: policy, attempts"),
    ],
)
def test_a_problem_says_what_is_wanted_what_was_found_and_what_would_be_right(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.startswith(f"1: {problem}")


def test_every_problem_is_found_at_once_each_on_its_line() -> None:
    text = """
server:
  port: x
limits:
  queue: -1
model_registry:
  - name: a
    weight: 0
  - endpoint: http://b
  - 7
"""
    assert [one.split(": ")[0:2] for one in problems(text)] == [
        ["3", "server.port"],
        ["5", "limits.queue"],
        ["8", "model_registry[0].weight"],
        ["9", "model_registry[1]"],
        ["10", "model_registry[2]"],
    ]


def test_a_slip_of_the_pen_in_a_name_is_one_problem_and_its_value_counts() -> None:
    found = decoded("model_registry: [{nmae: a, endpont: http://b}]")
    assert [one.path for one in found.problems] == ["model_registry[0].nmae", "model_registry[0].endpont"]
    assert (found.config.model_registry[0].name, found.config.model_registry[0].endpoint) == ("a", "http://b")


def test_a_slip_is_read_as_a_field_of_the_same_shape_only() -> None:
    assert problems("models: [{name: a, file: b}]") == ["1: models: unknown field; did you mean `model_registry`?"]
    assert problems("sesions: [a]") == ["1: sesions: unknown field; did you mean `sessions`?"]


def test_what_stands_in_for_a_broken_value_is_known_to_be_no_value() -> None:
    found = decoded("model_registry: [{endpoint: http://b}, x]\nserver: {port: x}")
    assert not found.sound("model_registry", 0, "name")
    assert found.sound("model_registry", 0, "endpoint")
    assert not found.sound("model_registry", 1, "endpoint")
    assert not found.sound("server", "port")
    assert found.config.server.port == 8080


def test_a_section_whose_lines_are_all_comments_means_its_defaults() -> None:
    assert config("server:\n# port: 80\nkeys:\naliases:\nmodel_registry:\n") == Config()


@pytest.mark.parametrize(
    ("text", "port"),
    [("${PORT}", 9090), ("'${PORT}'", 9090), ("${NO:-70}", 70), ("${EMPTY}", 8080), ("80${EMPTY}", 80)],
)
def test_a_reference_may_stand_where_a_number_is_wanted(text: str, port: int) -> None:
    assert config(f"server:\n  port: {text}\n", {"PORT": "9090", "EMPTY": ""}).server.port == port


def test_a_variable_that_holds_digits_is_text_where_text_is_wanted() -> None:
    text = 'model_registry: [{name: a, endpoint: http://b, private: "${P}", api_key: "${K}", weight: "${W}"}]'
    model = config(text, {"K": "0123", "P": "on", "W": "1e-1"}).model_registry[0]
    assert (model.api_key, model.private, model.weight) == ("0123", True, 0.1)


def test_an_optional_value_whose_variable_is_empty_is_not_there() -> None:
    text = 'model_registry: [{name: a, endpoint: http://b, api_key: "${K:-}"}]'
    assert config(text).model_registry[0].api_key is None
    assert problems("model_registry: [{name: '${K:-}'}]") == [
        "1: model_registry[0].name: expected text that is not empty, found '${K:-}', whose value is not that"
    ]


def test_a_variables_value_is_not_told() -> None:
    (problem,) = problems("server: {port: '${K}'}", {"K": "sk-12"})
    assert "found '${K}', whose value is not that" in problem
    (problem,) = problems("model_registry: [{name: a, api_key: 123456}]")
    assert problem.startswith(
        "1: model_registry[0].api_key: expected text that is not empty, found a value that is not"
    )
    assert "123456" not in problem


def test_options_and_what_a_plugin_knows_keep_yamls_types_and_take_references() -> None:
    text = """
aliases:
  a:
    models: [b]
    options:
      n: 1
      s: '1'
      l: [x, {y: ~}]
      v: ${V}
      q: '${V}'
      t: on
      e: $${x}
"""
    alias = config(text, {"V": "2"}).aliases["a"]
    assert not isinstance(alias, str)
    assert alias.options == {
        "n": 1,
        "s": "1",
        "l": ["x", {"y": None}],
        "v": 2,
        "q": "2",
        "t": True,
        "e": "${x}",
    }


def test_secrets_come_from_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1\n")
    text = "model_registry: [{name: a, endpoint: http://b, api_key: 'file:key', headers: {X: 'file:${F}', Y: file}}]"
    model = decoded(text, {"F": "key"}, tmp_path).config.model_registry[0]
    assert (model.api_key, model.headers) == ("sk-1", {"X": "sk-1", "Y": "file"})


def test_only_secrets_are_read_from_files() -> None:
    assert config("model_registry: [{name: 'file:a', file: 'file:b'}]").model_registry[0].name == "file:a"


def test_a_secrets_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    text = "model_registry:\n- {name: a, api_key: 'file:key'}"
    (problem,) = decoded(text, {}, tmp_path).problems
    assert str(problem).startswith("f.yaml:2: model_registry[0].api_key: the file /")
    assert "No such file" in problem.message


def test_relative_paths_begin_where_the_file_is() -> None:
    found = config("model_store: models\nplugins: {folder: ~/p}\nsessions: {path: /s}", {"HOME": "/home/pi"})
    assert found.model_store == "/etc/moltbot/models"
    assert found.plugins.folder == "/home/pi/p"
    assert found.sessions.path == "/s"


@pytest.mark.parametrize(
    ("command", "found"), [("llama-server", "llama-server"), ("bin/llama-server", "/etc/moltbot/bin/llama-server")]
)
def test_a_program_is_a_path_only_with_a_slash(command: str, found: str) -> None:
    assert config(f"engines: {{command: {command}}}").engines.command == found


def test_a_value_from_outside_may_stand_anywhere_and_names_its_source() -> None:
    tree, _ = parse(b"server: {host: '::1'}\nlimits: 3\n", "f.yaml")
    tree = with_value(tree, ("server", "port"), outside("9090", "PORT"))
    tree = with_value(tree, ("server", "tls", "cert"), outside("/c", "CERT"))
    tree = with_value(tree, ("limits", "queue"), outside("9", "QUEUE"))
    found = decode(tree, {}, Path("/"))
    assert (found.config.server.host, found.config.server.port) == ("::1", 9090)
    assert [str(one) for one in found.problems] == [
        "CERT: server.tls: the field `key` is missing",
        "f.yaml:2: limits: expected a section with " + ", ".join(msgspec.structs.asdict(Config().limits)) + ", found 3",
    ]


def test_what_a_variable_holds_is_not_looked_into() -> None:
    tree, _ = parse(b"", "f.yaml")
    found = decode(with_value(tree, ("router", "policy"), outside("${HOME}", "MODEL_ROUTER")), {"HOME": "/"}, Path("/"))
    assert found.config.router.policy == "${HOME}"


def test_every_scalar_that_is_in_no_list_can_be_set_from_outside() -> None:
    paths = {".".join(map(str, path)) for path in scalar_paths()}
    assert {"server.port", "server.tls.cert", "model_store", "engines.memory_mb", "plugins.folder"} <= paths
    assert not any("model_registry" in path or "keys" in path or "aliases" in path for path in paths)


def kinds(kind: mi.Type) -> st.SearchStrategy[Any]:
    """Values that a field of this type might be given: right ones, mostly, and wrong ones."""
    wrong = st.sampled_from([True, -1, 0, 3, 2.5, 4.0, "", "text", "8080", "http://box:1", [], {}, ["a"], {"a": 1}])
    match kind:
        case mi.Metadata(type=inner):
            return kinds(inner)
        case mi.UnionType(types=types):
            return st.one_of([kinds(one) for one in types])
        case mi.StructType(fields=fields):
            required = {field.encode_name: kinds(field.type) for field in fields if field.required}
            optional = {
                field.encode_name: kinds(field.type)
                for field in fields
                if not field.required and "'holds'" not in str(field.type)  # paths are made absolute
            }
            return st.fixed_dictionaries(required, optional=optional) | wrong
        case mi.ListType(item_type=inner):
            return st.lists(kinds(inner), max_size=2) | wrong
        case mi.DictType(value_type=inner):
            return st.dictionaries(st.sampled_from(["a", "b"]), kinds(inner), max_size=2) | wrong
    # No null for a section: it means the defaults here, which msgspec does not know.
    match kind:
        case mi.LiteralType(values=values):
            right: st.SearchStrategy[Any] = st.sampled_from(values)
        case mi.IntType() | mi.FloatType():
            right = st.integers(1, 10)
        case mi.StrType():
            right = st.sampled_from(["a", "b", "http://box:1", "yes", "1"])
        case _:
            right = st.booleans()
    return right | wrong | st.none()


@given(kinds(mi.type_info(Config)).filter(lambda value: isinstance(value, dict)))
@example({"server": {"port": 4.0}})
@example({"aliases": {"a": {"models": ["b"], "options": {"c": [None, 1.5]}}}})
def test_the_walk_takes_what_msgspec_takes_and_gives_the_same(value: dict[str, Any]) -> None:
    text = yaml.safe_dump(value)
    try:
        wanted = msgspec.convert(value, Config)
    except msgspec.ValidationError:
        assert decoded(text).problems != []
    else:
        assert decoded(text).problems == []
        assert decoded(text).config == wanted
