"""The benchmark: this gateway beside other proxies, in one run, over the same stub upstream.

``targets`` says what is measured and how each is configured, ``parts`` brings it, ``processes`` runs it on a core of
its own. ``rounds`` takes the figures, with ``measure`` reading them from /proc and ``loadgen/`` (Go) making the load.
``talks`` are conversations that a gateway keeps. ``table`` turns samples into text and knows nothing of the rest. How
to read the result: docs/benchmark.md.

Standard library only: it also measures a built binary, on a machine that has nothing else. But for ``decisions``, which
measures the router's policies by themselves.
"""
