"""File, environment and command line joined; one error for all that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from moltbot_edge.config.check import ConfigError
from moltbot_edge.config.load import CONFIG_VARIABLE, find_config, load, model_stores, read, variables
from moltbot_edge.config.schema import Config, Model, Sessions, Tool

EXAMPLES = Path(__file__).with_name("examples")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "moltbot.yaml"


def test_the_users_own_example_has_no_errors() -> None:
    config = load(EXAMPLES / "users_own.yaml", {})
    assert config.model_registry == [
        Model(name="llama3-70b", endpoint="http://model-server:1234", api_key="your-api-key")
    ]
    assert config.tool_integration == {"vector_search": Tool(type="milvus")}


def test_the_example_of_every_section_decodes_and_lacks_only_what_it_leaves_open() -> None:
    reading = read(EXAMPLES / "every_section.yaml", {"BOX_KEY": "k"})
    assert [one.path for one in reading.errors] == ["server.tls.cert", "server.tls.key", "keys[0].hash"]
    assert all("cannot be read" in one.message or "sha256:" in one.message for one in reading.errors)
    chat = reading.config.model_registry[0]
    assert (chat.api_key, chat.weight, chat.context_tokens, chat.private) == ("k", 2.0, 32768, True)


def test_no_file_means_the_defaults() -> None:
    assert load(None, {}) == Config()


def test_one_error_shows_every_problem_with_its_source(file: Path) -> None:
    file.write_text("server:\n  port: x\nrouter: {attempts: 0}\ntool_integration: {search: {type: x}}\n")
    with pytest.raises(ConfigError) as raised:
        load(file, {"MOLTBOT_EDGE_LIMITS_QUEUE": "many"})
    assert str(raised.value).splitlines() == [
        f"{file}:2: server.port: expected a whole number from 0 to 65535, found 'x' (default: 8080)",
        f"{file}:3: router.attempts: expected a whole number from 1 to 10, found 0 (default: 3)",
        f"{file}:4: warning: tool_integration: read, but without effect: this version runs no tools yet",
        "MOLTBOT_EDGE_LIMITS_QUEUE: limits.queue: expected a whole number, 1 or more, found 'many' (default: 256)",
    ]
    assert [one.line for one in raised.value.problems] == [2, 3, 4, None]


def test_warnings_alone_raise_nothing(file: Path) -> None:
    file.write_text("sessions: {url: 'redis://box'}\n")
    assert load(file, {}) == Config(sessions=Sessions(url="redis://box"))


def test_what_is_said_later_counts_more(file: Path) -> None:
    file.write_text("router: {policy: a}\nserver: {port: 1}\nsessions: {timeout_s: 1}\n")
    environment = {"MODEL_ROUTER": "b", "SESSION_TIMEOUT": "90", "MOLTBOT_EDGE_SERVER_PORT": "2"}
    config = load(file, environment)
    assert (config.router.policy, config.sessions.timeout_s, config.server.port) == ("b", 90.0, 2)
    config = load(file, {**environment, "MOLTBOT_EDGE_ROUTER_POLICY": "c"}, settings={"server.port": "3"})
    assert (config.router.policy, config.server.port) == ("c", 3)


def test_the_environment_alone_is_enough() -> None:
    environment = {
        "MOLTBOT_EDGE_MODEL_STORE": "/m",
        "MOLTBOT_EDGE_ENGINES_MEMORY_MB": "3000",
        "MOLTBOT_EDGE_SERVER__LOG_LEVEL": "debug",
        "MOLTBOT_EDGE_LIMITS_QUEUE": "",
    }
    config = load(None, environment)
    assert (config.model_store, config.engines.memory_mb, config.server.log_level) == ("/m", 3000, "debug")
    assert config.limits.queue == Config().limits.queue


def test_a_problem_on_the_command_line_names_the_option() -> None:
    reading = read(None, {}, settings={"server.port": "x", "server.host": "0.0.0.0"})
    assert [str(one).split(": ")[:2] for one in reading.errors] == [
        ["--port", "server.port"],
        ["--host", "server.host"],
    ]


def test_a_variable_that_sets_nothing_is_a_warning() -> None:
    reading = read(None, {"MOLTBOT_EDGE_SERVER_PROT": "1", "MOLTBOT_EDGE_CONFIG": "x"})
    assert [str(one) for one in reading.problems] == [
        "MOLTBOT_EDGE_SERVER_PROT: warning: sets no field; did you mean `MOLTBOT_EDGE_SERVER_PORT`?"
    ]


def test_what_kubernetes_says_of_a_service_of_our_name_is_not_meant_for_us() -> None:
    links = {
        "MOLTBOT_EDGE_SERVICE_HOST": "10.0.0.3",
        "MOLTBOT_EDGE_SERVICE_PORT_HTTP": "8080",
        "MOLTBOT_EDGE_PORT": "tcp://10.0.0.3:8080",
        "MOLTBOT_EDGE_PORT_8080_TCP_ADDR": "10.0.0.3",
        "MOLTBOT_EDGE_SERVER_PORT": "tcp://10.0.0.3:8080",  # a Service named moltbot-edge-server
    }
    reading = read(None, links)
    assert (reading.problems, reading.config) == ((), Config())


def test_each_field_has_a_variable_of_its_own() -> None:
    names = variables()
    assert len(set(names.values())) == len(names)
    assert CONFIG_VARIABLE not in names
    assert all("__" not in name for name in names)


def test_a_file_that_cannot_be_read_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    assert [str(one) for one in read(tmp_path, {}).problems] == [f"{tmp_path}: cannot be read: Is a directory"]
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml", {})


def test_syntax_that_cannot_be_read_is_the_only_problem(file: Path) -> None:
    file.write_text("server: {host: 0.0.0.0}\na: b: c\n")
    (problem,) = read(file, {}).problems
    assert (problem.line, problem.path) == (2, "")


def test_the_file_is_the_one_that_is_named_else_the_first_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None, {}) is None
    (tmp_path / "moltbot.yaml").touch()
    assert find_config(None, {}) == Path("moltbot.yaml")
    assert find_config(None, {CONFIG_VARIABLE: "/nowhere.yaml"}) == Path("/nowhere.yaml")
    assert find_config(Path("mine.yaml"), {CONFIG_VARIABLE: "/nowhere.yaml"}) == Path("mine.yaml")


def test_models_are_looked_for_where_the_file_says_or_beside_it(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("model_store: store\n")
    assert model_stores(load(file, {}), file) == [tmp_path / "store"]
    file.write_text("")
    assert model_stores(load(file, {}), file)[-1] == tmp_path / "models"
    monkeypatch.chdir(tmp_path)
    assert model_stores(load(None, {}), None)[-1] == tmp_path / "models"
    assert model_stores(load(file, {}), Path("moltbot.yaml"))[-1] == tmp_path / "models"


def test_paths_begin_at_the_file_wherever_the_program_runs(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("plugins: {folder: plugins}\n")
    monkeypatch.chdir(tmp_path)
    assert load(Path("moltbot.yaml"), {}).plugins.folder == str(tmp_path / "plugins")
