"""YAML text as a tree with lines, and what no tree can show."""

from __future__ import annotations

import pytest

from moltbot_edge.config.document import MAX_BYTES, parse
from moltbot_edge.config.tree import Items, Node, Scalar, Table


def tree(text: str) -> Table:
    found, problems = parse(text.encode(), "f.yaml")
    assert problems == []
    return found


def problems(text: str | bytes) -> list[str]:
    return [str(one) for one in parse(text if isinstance(text, bytes) else text.encode(), "f.yaml")[1]]


def plain(node: Node) -> object:
    match node:
        case Table(entries=entries):
            return {name: plain(entry.node) for name, entry in entries.items()}
        case Items(nodes=nodes):
            return [plain(one) for one in nodes]
        case Scalar(value=value):
            return value


def test_every_value_knows_its_line() -> None:
    found = tree("a: 1\nb:\n  - x\n  - y: true\n")
    b = found.entries["b"]
    assert isinstance(b.node, Items)
    assert b.place.line == 2
    assert [node.place.line for node in b.node.nodes] == [3, 4]


def test_values_are_text_numbers_truth_and_nothing_and_the_text_is_kept() -> None:
    found = tree("{a: 1, b: 0x10, c: 1.5, d: yes, e: ~, f: '1', g: 2024-01-31, h: 12:30}")
    assert plain(found) == {
        "a": 1,
        "b": 16,
        "c": 1.5,
        "d": True,
        "e": None,
        "f": "1",
        "g": "2024-01-31",
        "h": 750,  # YAML 1.1 counts in sixties; the text says what was meant
    }
    h = found.entries["h"].node
    assert isinstance(h, Scalar)
    assert h.text == "12:30"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~"])
def test_an_empty_file_is_an_empty_table(text: str) -> None:
    assert tree(text).entries == {}


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert list(parse("﻿server: {}".encode(), "f.yaml")[0].entries) == ["server"]


def test_merged_values_give_way_to_the_sections_own_and_earlier_ones_win() -> None:
    found = tree(
        "one: &one {a: 1, b: 1}\ntwo: &two {b: 2, c: 2}\nthree: {<<: [*one, *two], c: 3}\nfour: {c: 4, <<: *two}\n"
    )
    assert plain(found.entries["three"].node) == {"a": 1, "b": 1, "c": 3}
    assert plain(found.entries["four"].node) == {"b": 2, "c": 4}


def test_a_name_given_twice_is_a_problem_at_the_second_that_names_the_first() -> None:
    assert problems("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 4\n") == [
        "f.yaml:5: b.c: given twice; first on line 3",
        "f.yaml:6: a: given twice; first on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: b: c\n", "f.yaml:1: not YAML: mapping values are not allowed here; a text with a colon"),
        ("a:\n\tb: 1\n", "f.yaml:2: not YAML: while scanning for the next token, found character '\\t'"),
        ("a: [1, 2\nb: 3\n", "f.yaml:2: not YAML: while parsing a flow sequence"),
        (
            "a: {b: ${C}}\n",
            "f.yaml:1: not YAML: while parsing a flow mapping, expected ',' or '}', but got '{'; between",
        ),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: not YAML: expected a single document"),
        ("a: *nobody\n", "f.yaml:1: not YAML: found undefined alias"),
        ("- a\n", "f.yaml:1: expected sections such as `server:`"),
        ("just words", "f.yaml:1: expected sections such as `server:`"),
        ("a: !secret b\n", "f.yaml:1: a: tags such as !secret are not read"),
        ("a: !!python/object/apply:os.system [ls]\n", "f.yaml:1: a: tags such as tag:yaml.org,2002:python"),
        ("? [a, b]\n: c\n", "f.yaml:1: expected a name before the colon"),
        ("a: {<<: 1}\n", "f.yaml:1: a: expected a section such as *name"),
        ("x" * MAX_BYTES + ": 1", f"f.yaml:1: expected at most {MAX_BYTES} bytes, found more"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: expected UTF-8 text"),
        ("a: 1\nb: \x07\n", "f.yaml:2: expected UTF-8 text: special characters are not allowed"),
    ],
)
def test_what_is_not_a_configuration_is_one_problem_with_its_line(text: str | bytes, found: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(found)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "[" * 1000,
        "a: " + "[" * 50 + "]" * 50,
        "a0: &a0 {}\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
        "a0: &a0 {}\n" + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10)),
    ],
    ids=["itself", "merges itself", "unclosed", "deep", "a billion", "a billion merges"],
)
def test_a_file_that_would_grow_without_end_is_refused(text: str) -> None:
    found, (problem, *_) = parse(text.encode(), "f.yaml")
    assert found.entries == {}
    assert "deep" in problem.message
