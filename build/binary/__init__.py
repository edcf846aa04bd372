"""How the one-file binary is made.

`store` keeps what is made, step by step; `pins` and `sources` say and bring what it is made from, Debian's part by way
of `pool`. `toolchain`, `libraries`, `interpreter` and `extensions` compile it for a `Target`; `contents` lists what of
Python goes in, `frozen` writes that as bytecode, `static` links everything into one file, and `elf` and `sbom` look at
the result. `bundle` makes the other forms from the same parts.
"""
