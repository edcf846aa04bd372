# Written by the build into the one-file binary; from source there is no such module.
PLUGIN_MODULES: tuple[str, ...]
