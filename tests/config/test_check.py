"""What no single field can know. Each rule, and that one slip of the pen stays one problem."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from moltbot_edge.config.check import is_loopback
from moltbot_edge.config.known import Known, known, plugins
from moltbot_edge.config.load import Reading, read
from moltbot_edge.config.schema import Config
from moltbot_edge.kernel.registry import EXTRAS, Registry

HASH = "sha256:" + "0a" * 32


@pytest.fixture
def reading(tmp_path: Path) -> Any:
    def reading(text: str, names: Known | None = None, environment: Mapping[str, str] | None = None) -> Reading:
        file = tmp_path / "moltbot.yaml"
        file.write_text(text)
        return read(file, environment or {}, known=lambda config: names or known(Registry()))

    return reading


@pytest.fixture
def problems(reading: Any, tmp_path: Path) -> Any:
    def problems(*args: Any, **kwargs: Any) -> list[str]:
        return [str(one).replace(f"{tmp_path}/", "") for one in reading(*args, **kwargs).problems]

    return problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model_registry:\n- name: a\n", "2: model_registry[0]: expected an `endpoint` (another machine) or a `file`"),
        (
            "model_registry:\n- {name: a, endpoint: http://b, file: c}\n",
            "2: model_registry[0]: expected either `endpoint` or `file`, found both",
        ),
        (
            "model_registry:\n- name: a\n  endpoint: http://b:x\n",
            "3: model_registry[0].endpoint: expected a URL such as http://box:11434: a host, and a port",
        ),
        ("model_registry: [{name: 'a/*/*', endpoint: 'http://b'}]", "1: model_registry[0].name: holds 2 times `*`"),
        ("model_registry: [{name: 'a/*', file: b.gguf}]", "1: model_registry[0].name: `*` stands for many models"),
        (
            "model_registry: [{name: a, endpoint: 'http://b', model: 'x*'}]",
            "1: model_registry[0].model: `*` stands for what the `*` in `name` stood for, and there is none",
        ),
        (
            "model_registry: [{name: a, command: 'x --port 80'}]",
            "1: model_registry[0].command: expected {port} in it: where it shall listen, on 127.0.0.1",
        ),
        (
            "model_registry: [{name: a, command: 'x {port} {model}'}]",
            "1: model_registry[0].command: holds {model}, and there is no `file` to stand for it",
        ),
        (
            'model_registry: [{name: a, command: "x {port} \'y"}]',
            "1: model_registry[0].command: cannot be split into words: no closing quotation",
        ),
        (
            "model_registry: [{name: a, endpoint: 'http://b', command: 'x {port}'}]",
            "1: model_registry[0].command: is a program on this board, and an `endpoint` is another machine",
        ),
        (
            "model_registry: [{name: a, command: 'x {port}', engine_args: [-x]}]",
            "1: model_registry[0].engine_args: are llama-server's",
        ),
        (
            "model_registry: [{name: a, endpoint: 'http://b', health: /up}]",
            "1: model_registry[0].health: is for a `command`",
        ),
        ("prompt: {stabilise: [smal]}", "1: prompt.stabilise[0]: no model is named 'smal'"),
        ("router: {fallbacks: {a: [auto]}}", "1: router.fallbacks.a: no model or alias is named 'a'"),
        (
            "model_registry: [{name: 'a/*', endpoint: 'http://b'}, {name: c, endpoint: 'http://b'}]\n"
            "router: {context_fallbacks: {c: [a/x, d]}}",
            "2: router.context_fallbacks.c[1]: no model or alias is named 'd'",
        ),
        (
            "model_registry: [{name: small, endpoint: 'http://b'}]\nsessions: {summary_model: smal}",
            "2: sessions.summary_model: no model or alias is named 'smal'",
        ),
        (
            "model_registry: [{name: c, endpoint: 'http://b'}]\nrouter: {fallbacks: {c: [c]}}",
            "2: router.fallbacks.c[0]: is what has failed already",
        ),
        (
            "model_registry: [{name: a, endpoint: 'http://:80'}]",
            "1: model_registry[0].endpoint: expected a URL such as",
        ),
        (
            "model_registry: [{name: a, endpoint: 'http://a..b'}]",
            "1: model_registry[0].endpoint: expected a URL such as",
        ),
        (
            "model_registry: [{name: a, endpoint: 'http://b/our models/v1'}]",
            "1: model_registry[0].endpoint: holds a character that no URL can carry",
        ),
        (
            'model_registry: [{name: "a\\r\\nX-Evil: b", endpoint: http://b}]',
            "1: model_registry[0].name: holds a character that no header can carry",
        ),
        (
            "model_registry: [{name: a, endpoint: 'http://u:p@b'}]",
            "1: model_registry[0].endpoint: credentials in a URL",
        ),
        (
            "model_registry: [{name: a, endpoint: 'http://b/?x=1'}]",
            "1: model_registry[0].endpoint: expected a base URL",
        ),
        (
            "model_registry: [{name: a, endpoint: http://b/v1/chat/completions}]",
            "1: model_registry[0].endpoint: expected a base URL, with or without /v1; leave out '/chat/completions'",
        ),
        (
            'model_registry: [{name: a, endpoint: http://b, api_key: "a\\nX-Evil: b"}]',
            "1: model_registry[0].api_key: holds a character that no header can carry",
        ),
        (
            'model_registry: [{name: a, endpoint: http://b, headers: {X: "a\\r\\nb"}}]',
            "1: model_registry[0].headers.X: holds a character that no header can carry",
        ),
        (
            "model_registry: [{name: a, endpoint: http://b, headers: {'X Y:': a}}]",
            '1: model_registry[0].headers["X Y:"]: is no name of a header',
        ),
        (
            "model_registry: [{name: a, endpoint: http://b, type: openai_chat}]",
            "1: model_registry[0].type: no dialect is named 'openai_chat'; did you mean `openai-chat`?",
        ),
        ("aliases: {a: b}", "1: aliases.a: no model is named 'b'; there are none"),
        (
            "model_registry: [{name: chat, endpoint: http://b}]\naliases:\n  a: chta\n",
            "3: aliases.a: no model is named 'chta'; did you mean `chat`?",
        ),
        (
            "model_registry: [{name: chat, endpoint: http://b}]\naliases:\n  a:\n    models:\n    - chat\n    - zzz\n",
            "6: aliases.a.models[1]: no model is named 'zzz'; there are: chat",
        ),
        (
            "model_registry: [{name: chat, endpoint: http://b}]\naliases:\n  chat: chat\n",
            "3: aliases.chat: a model has the name 'chat' already",
        ),
        (
            "model_registry: [{name: chat, endpoint: http://b}]\naliases:\n  a: chat\n  b: a\n",
            "4: aliases.b: 'a' is an alias; an alias stands for models of model_registry",
        ),
        ("router: {policy: weigthed}", "1: router.policy: no policy is named 'weigthed'; did you mean `weighted`?"),
        (
            "model_registry: [{name: chat, endpoint: http://b}]\naliases: {a: {models: [chat], policy: zzz}}",
            "2: aliases.a.policy: no policy is named 'zzz'; there are: ",
        ),
        (
            "model_registry: [{name: chat, endpoint: http://b}]\n"
            "aliases:\n  a:\n    models: [chat]\n    options:\n      n: 1\n",
            "6: aliases.a.options.n: the policy 'fastest'",
        ),
        (
            "model_registry: [{name: a, endpoint: http://a}, {name: b, endpoint: http://b}]\n"
            "aliases:\n  auto:\n    models: [a, b]\n    policy: complexity\n    options:\n      targets: [a, c]\n",
            "7: aliases.auto.options.targets[1]: 'c' is no model of this alias; there are: a, b",
        ),
        (
            "model_registry: [{name: a, endpoint: http://a}, {name: b, endpoint: http://b}]\n"
            "aliases:\n  auto:\n    models: [a, b]\n    policy: complexity\n    options:\n      above: [0.3, 0.7]\n",
            "7: aliases.auto.options.above: takes a threshold between each two models: 1, found 2",
        ),
        (
            "limits: {body_bytes: 10, bodies_bytes: 9}",
            "1: limits.body_bytes: one body may have 10 bytes (body_bytes) but all together only 9 (bodies_bytes)",
        ),
        ("limits: {bodies_bytes: 9}", "1: limits.bodies_bytes: one body may have 33554432 bytes"),
        (
            "keys: [{name: a, hash: '0a0a'}]",
            "1: keys[0].hash: expected sha256: and 64 hexadecimal digits, found something else; `moltbot-edge keys new",
        ),
        (
            "keys: [{name: a, hash: sk-moltbot-x}]",
            "1: keys[0].hash: expected sha256: and 64 hexadecimal digits, found the s",
        ),
        (
            f"keys:\n- {{name: a, hash: '{HASH}'}}\n- {{name: a, hash: '{HASH[:-1]}b'}}\n",
            "3: keys[1].name: keys[0] has the name 'a' already",
        ),
        (
            f"keys:\n- {{name: a, hash: '{HASH}'}}\n- {{name: b, hash: '{HASH}'}}\n",
            "3: keys[1].hash: keys[0] has this hash already",
        ),
        (
            "model_registry: [{name: chat, endpoint: http://b}]\n"
            f"keys: [{{name: a, hash: '{HASH}', models: [chta]}}]",
            "2: keys[0].models[0]: no model or alias is named 'chta'; did you mean `chat`?",
        ),
        (
            "server: {host: 0.0.0.0}",
            "1: server.host: listening on 0.0.0.0, where others on the network can call, needs a",
        ),
        ("server: {host: '::'}", "1: server.host: listening on ::"),
        ("server: {host: box.local}", "1: server.host: listening on box.local"),
        ("server: {host: 'http://127.0.0.1'}", "1: server.host: expected an address or a host's name"),
        ("server: {host: '127.0.0.1:80'}", "1: server.host: expected an address or a host's name"),
    ],
)
def test_a_problem_is_told_where_it_stands(reading: Any, tmp_path: Path, text: str, problem: str) -> None:
    (found,) = reading(text).errors
    assert str(found).startswith(f"{tmp_path}/moltbot.yaml:{problem}")


@pytest.mark.parametrize(
    "text",
    [
        "model_registry: [{name: chat, endpont: box}]\naliases: {a: chat}",
        "model_registry: [{endpoint: http://b}]\naliases: {a: chat}\n",
        "model_registry: x\naliases: {a: chat}\nkeys: [{name: a, hash: 'sha256:%s', models: [chat]}]" % ("0" * 64),
        "server: {host: 0.0.0.0}\nkeys: x",
        "limits: {body_bytes: x, bodies_bytes: 5}",
        "server: {tls: x}",
        "router: {policy: [x]}",
    ],
)
def test_what_did_not_decode_is_not_held_against_the_rest(problems: Any, text: str) -> None:
    found = problems(text)
    assert not any("neither" in one or "is named" in one or "listening" in one or "together" in one for one in found)
    assert len({one.split(":")[1] for one in found}) == 1


def test_off_loopback_with_a_key_is_fine(problems: Any) -> None:
    assert problems(f"server: {{host: 0.0.0.0}}\nkeys: [{{name: a, hash: '{HASH}'}}]") == []


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("box.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.lan", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_loopback_is_an_address_or_localhost_and_nothing_that_looks_like_it(host: str, found: bool) -> None:
    assert is_loopback(host) is found


def test_tls_files_have_to_be_there(problems: Any, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    assert problems("server:\n  tls:\n    cert: cert.pem\n    key: key.pem\n") == [
        "moltbot.yaml:4: server.tls.key: key.pem cannot be read: No such file or directory"
    ]


def test_a_ca_file_has_to_hold_a_certificate_and_belong_to_https(problems: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "box.pem"))
    text = """\
model_registry:
  - {name: a, endpoint: "https://a", ca_file: box.pem}
  - {name: b, endpoint: "https://b", ca_file: empty.pem}
  - {name: c, endpoint: "https://c", ca_file: none.pem}
  - {name: d, endpoint: "http://d", ca_file: box.pem}
"""
    said = [one.replace(f"{tmp_path}/", "") for one in problems(text)]
    assert said == [
        "moltbot.yaml:3: model_registry[1].ca_file: empty.pem (ca_file) holds no certificate in PEM",
        "moltbot.yaml:4: model_registry[2].ca_file: none.pem (ca_file) cannot be read: No such file or directory",
        "moltbot.yaml:5: model_registry[3].ca_file: is for an `endpoint` with https: nothing else has a certificate",
    ]


def test_models_found_in_the_store_can_be_named(problems: Any) -> None:
    names = Known(models={"small": Path("/m/small.gguf")})
    assert problems(f"aliases: {{a: small}}\nkeys: [{{name: k, hash: '{HASH}', models: [small, a]}}]", names) == []


def test_a_found_file_that_something_else_has_is_not_served_under_its_own_name(problems: Any, tmp_path: Path) -> None:
    file = tmp_path / "models" / "small.gguf"
    file.parent.mkdir()
    file.touch()
    names = Known(models={"small": file})
    assert problems("model_registry: [{name: chat, file: small.gguf}]\naliases:\n  a: small\n", names) == [
        "moltbot.yaml:3: aliases.a: no model is named 'small'; there are: chat"
    ]
    assert problems("aliases:\n  small: small\n", names) == [
        "moltbot.yaml:2: aliases.small: 'small' is an alias; an alias stands for models of model_registry"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{store: dsk}", "store: no store of sessions is named 'dsk'; did you mean `disk`?"),
        ("{store: etcd}", "store: no store of sessions is named 'etcd'; there are: disk, memory, redis"),
        ("{path: moltbot.yaml}", "path: moltbot.yaml is no folder"),
        ('{path: "/a\\0b"}', "path: expected a folder, such as /var/lib/moltbot/sessions"),
        ("{size_mb: 8}", "size_mb: one session may have 16 MiB (session_mb) but all together only 8 (size_mb)"),
        (
            "{session_mb: 300}",
            "session_mb: one session may have 300 MiB (session_mb) but all together only 256 (size_mb)",
        ),
        (
            "{store: redis, url: 'http://:pw@box'}",
            "url: expected redis://host:6379/0, or rediss:// for TLS, or unix://",
        ),
        (
            "{store: redis, url: 'redis://:pw@box:x'}",
            "url: expected redis://host:6379/0, or rediss:// for TLS, or unix://",
        ),
        ("{store: redis, url: 'redis://'}", "url: expected redis://host:6379/0, or rediss:// for TLS, or unix://"),
        ("{store: redis, url: 'redis://:pw@box/db'}", "url: expected the number of a database after the host"),
        ("{store: redis, url: 'unix://'}", "url: expected the path of a socket"),
    ],
)
def test_what_is_wrong_with_sessions(problems: Any, text: str, problem: str) -> None:
    (found,) = problems(f"sessions: {text}\n")
    assert found.startswith(f"moltbot.yaml:1: sessions.{problem}")
    assert "pw" not in found


@pytest.mark.parametrize(
    "url", ["redis://box", "redis://box:6379/3", "rediss://:secret@box/0?ssl_cert_reqs=none", "unix:///run/redis.sock"]
)
def test_addresses_of_a_redis_server(problems: Any, url: str) -> None:
    assert problems(f"sessions: {{store: redis, url: '{url}', session_mb: 300}}\n") == []


def test_what_a_store_does_not_look_at_is_a_warning(problems: Any) -> None:
    assert problems("sessions:\n  store: redis\n  size_mb: 5\n  path: /tmp\n") == [
        "moltbot.yaml:3: warning: sessions.size_mb: the store 'redis' does not look at it; it is for disk and memory",
        "moltbot.yaml:4: warning: sessions.path: the store 'redis' does not look at it; it is for disk",
    ]
    names = Known(stores=["disk", "mine"])
    assert problems("sessions: {store: mine, size_mb: 5, session_mb: 5, url: 'http://box', path: /tmp}\n", names) == []


def test_a_store_whose_package_is_not_there_says_what_to_install(
    problems: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, ("store", "redis"), "a_package_that_is_not_there")
    assert problems("sessions: {store: redis}\n") == [
        "moltbot.yaml:1: sessions.store: the store 'redis' needs the package 'a_package_that_is_not_there', which is "
        f"not here: {sys.executable} -m pip install 'moltbot-edge[redis]'"
    ]
    monkeypatch.setitem(sys.modules, "moltbot_edge._contents", SimpleNamespace(PLUGIN_MODULES=()))
    (said,) = problems("sessions: {store: redis}\n")
    assert "this executable of one file has not" in said
    assert "pip" not in said


def test_nobody_asked_for_names_means_that_none_is_wrong(problems: Any) -> None:
    assert problems("router: {policy: zzz}\nmodel_registry: [{name: a, endpoint: http://b, type: zzz}]", Known()) == []


def test_what_has_no_effect_yet_is_a_warning(reading: Any) -> None:
    found = reading("sessions:\n  store: disk\ntool_integration:\n  search: {type: milvus}\n")
    assert found.errors == []
    assert [(one.line, one.path) for one in found.warnings] == [
        (3, "tool_integration"),
    ]


def test_a_section_that_says_nothing_warns_of_nothing(problems: Any) -> None:
    assert problems("tool_integration: {}\nsessions: {}\nengines: {command: x}\n") == []


def test_a_models_file_that_is_not_there_is_a_warning(reading: Any, problems: Any, tmp_path: Path) -> None:
    text = "model_store: store\nmodel_registry:\n- {name: a, file: a.gguf}\n- {name: b, file: b.gguf}\n"
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.gguf").touch()
    assert problems(text) == [
        "moltbot.yaml:4: warning: model_registry[1].file: there is no such file yet: store/b.gguf"
    ]
    assert reading(text).errors == []


def test_a_plugins_policy_can_be_named_and_a_broken_plugin_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o700)
    good, bad = folder / "good.py", folder / "bad.py"
    good.write_text(
        "from moltbot_edge.api import Struct, policy\n\n"
        '@policy("first")\nclass First(Struct, frozen=True):\n    n: int\n'
        "    def __call__(self, candidates, query):\n        return candidates[: self.n]\n"
    )
    bad.write_text("import nothing_of_that_name\n")
    for path in (good, bad):
        path.chmod(0o600)
    file = tmp_path / "moltbot.yaml"
    file.write_text("plugins: {folder: plugins}\nrouter: {policy: first}\n")

    def names(config: Config) -> Known:
        registry, problems = plugins(config)
        return known(registry, problems=problems)

    found = read(file, {}, known=names)
    (warning,), (error,) = found.warnings, found.errors
    assert (warning.source, warning.line) == (str(bad), 1)
    assert (error.line, error.path) == (2, "router.policy")
    assert "n (int, required)" in error.message


def test_a_plugins_store_can_be_named(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o700)
    (folder / "mine.py").write_text(
        "from moltbot_edge.api import store\n\n@store('mine')\ndef opened(options):\n    ...\n"
    )
    (folder / "mine.py").chmod(0o600)
    file = tmp_path / "moltbot.yaml"
    file.write_text("plugins: {folder: plugins}\nsessions: {store: mine}\n")
    assert read(file, {}, known=lambda config: known(plugins(config)[0])).problems == ()


def test_what_is_wished_for_an_engine_is_for_one_on_this_board(problems: Any) -> None:
    said = "is for a `file`: an engine on another machine is not ours to keep or end"
    assert problems("model_registry: [{name: a, endpoint: http://b, pin: true, ttl_s: 60}]") == [
        f"moltbot.yaml:1: model_registry[0].pin: {said}",
        f"moltbot.yaml:1: model_registry[0].ttl_s: {said}",
    ]
