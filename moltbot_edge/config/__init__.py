"""YAML, environment and command line -> frozen, typed settings; every problem at once, with its path and line.

schema       every section, field, unit and default
load         finds the file, joins the sources, raises one error: the door for everyone else
document     YAML text -> a tree that knows its lines
decode       the tree -> `schema.Config`, leaf by leaf
references   ${VARIABLE} and file:PATH
check        what no single field can know: names that must meet, files that must be there; session_rules, of sessions
places       where sessions lie, also where nobody says so
known        names that plug-ins and found models add
json_schema  the schema for an editor
catalog      settings -> which models there are
"""
