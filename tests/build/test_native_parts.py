"""What the compiled parts are made of, as far as it shows without compiling."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from build.binary.extensions import EXTENSIONS, INITTAB
from build.binary.interpreter import ABSENT, Python, inittab
from build.binary.libraries import OPENSSL_WITHOUT
from build.binary.pins import debian_pins, package_pin
from build.binary.store import Step, Store
from build.binary.toolchain import ARCHITECTURES, Architecture, Target, tools

CONFIG = """\
extern PyObject* PyInit_math(void);
struct _inittab _PyImport_Inittab[] = {
    {"math", PyInit_math},
    {"_codecs", PyInit__codecs},
    {"builtins", NULL},
    {0, 0}
};
"""


@pytest.fixture
def python(tmp_path: Path) -> Python:
    (tmp_path / "config.c").write_text(CONFIG)
    return Python(
        target=Target("x86_64"),
        pin=debian_pins()["python3.13"],
        version="3.13.5",
        include=tmp_path,
        stdlib=tmp_path,
        archives=(),
        allocator=tmp_path,
        libraries=(),
        step=Step("python", "key", tmp_path),
        parts={},
    )


def test_the_modules_in_c_are_read_from_cpythons_own_table(python: Python) -> None:
    assert python.builtins == {"math": "PyInit_math", "_codecs": "PyInit__codecs", "builtins": None}


def test_a_file_gets_the_modules_in_c_that_are_named_and_no_other(python: Python) -> None:
    table = inittab(python, ["math", "builtins"], {"uvloop.loop": "PyInit_loop"})
    assert '{"math", PyInit_math},' in table
    assert '{"builtins", NULL},' in table
    assert '{"uvloop.loop", PyInit_loop},' in table
    assert "extern PyObject *PyInit_loop(void);" in table
    assert "_codecs" not in table


def test_a_module_that_cpython_does_not_have_is_not_linked(python: Python) -> None:
    with pytest.raises(KeyError):
        inittab(python, ["_nothing"], {})


def test_every_extension_is_pinned_and_no_two_of_its_objects_have_one_name() -> None:
    for name, extension in EXTENSIONS.items():
        assert package_pin("sdist", name).source
        objects = [file.replace("/", "-") for file in extension.files]
        assert len({*objects}) == len(objects)
    assert {name.partition(".")[0] for name in INITTAB} == {*EXTENSIONS}


def test_no_option_of_openssl_is_given_twice() -> None:
    names = [name for group in OPENSSL_WITHOUT.values() for name in group.split()]
    assert len({*names}) == len(names)


def test_tls_of_today_is_not_switched_off() -> None:
    without = {name for group in OPENSSL_WITHOUT.values() for name in group.split()}
    assert not without & {"tls1_2", "tls1_3", "ec", "ecx", "chacha", "poly1305", "asm", "stdio", "rsa", "dh", "sock"}


def test_no_module_is_said_twice_to_be_absent() -> None:
    assert len({*ABSENT}) == len(ABSENT)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_static_file_has_a_thread_stack_of_8_mib_and_no_libc_to_look_for(architecture: Architecture) -> None:
    target = Target(architecture)
    assert {"-static", "-Wl,-z,stack-size=8388608"} <= {*target.link_flags}
    assert ("-Wl,-z,max-page-size=65536" in target.link_flags) == (architecture == "aarch64")
    assert target.host == f"{architecture}-linux-musl"


def test_a_glibc_has_its_version_in_zigs_name_and_not_in_configures() -> None:
    target = Target("aarch64", "gnu.2.17")
    assert (target.triple, target.host, target.static) == ("aarch64-linux-gnu.2.17", "aarch64-linux-gnu", False)
    assert "-fPIC" in target.compile_flags


def test_the_compilers_name_and_version_go_into_a_steps_key_and_its_place_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path, jobs=1, output=io.StringIO())
    compiler = Step("zig", "key", tmp_path / "zig")
    settings = tools(store, Target("x86_64"), compiler).settings
    assert settings["CC"] == "x86_64-linux-musl-cc"
    assert settings["ZIG"].startswith("zig 0.")
    assert str(tmp_path) not in "".join(settings.values())
