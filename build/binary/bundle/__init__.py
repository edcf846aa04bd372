"""The forms for whoever needs plug-ins with a part in C: bundles that load shared objects, made by PyInstaller.

`interpreter` compiles CPython as a shared library, with `ffi` under it; `bundler` is PyInstaller for either machine;
`assembly` runs it on a `plan` that `bundle.spec` reads, has the result pass the `gate`, which reads each ELF file's
`dynamic` part, and packs it. `nuitka` compiles the product first. What goes in is the one list of `build.binary`.
"""
