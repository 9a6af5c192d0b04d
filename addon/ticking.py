"""Keeps the session going while Blender has a window: a timer that runs only while there is something to do."""

from __future__ import annotations


def register() -> None:
    """Nothing runs before something is started."""


def unregister() -> None:
    """End everything that was started."""
