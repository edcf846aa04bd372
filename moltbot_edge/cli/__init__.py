"""The command line: one file for each command, read when the command is called.

main     the table of commands; what is wanted when none is named
reading  a configuration against what this machine has
serve    the gateway
check    every problem of a configuration, or its JSON Schema
keys     secrets for callers
plugins  what was found, and what a plug-in may import
sessions kept conversations; transcript, as a person reads one; kept, where they are found
router   where a request would go, and why
"""
