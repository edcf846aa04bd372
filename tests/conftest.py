"""What every test shares. No fixtures here: a part's fixtures stand beside its tests."""

from __future__ import annotations

from hypothesis import settings

# Hypothesis's own deadline would be a time asserted: on a busy board it says nothing of the code.
settings.register_profile("moltbot", deadline=None)
settings.load_profile("moltbot")
