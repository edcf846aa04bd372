"""The table of plug-ins by kind and name. It knows no policy and no dialect: it finds them when the config asks.

marks      what a decorator leaves on a plug-in's function or class
discover   plug-ins in a folder and in installed packages
registry   the table: names, look-up, options -> a ready object; built-ins are loaded when they are asked for
"""
