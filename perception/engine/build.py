"""Objects from the nested dictionaries of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def build(config: Any) -> Any:
    """Build dict(type=Class, **arguments), and whatever such dictionaries its arguments hold, innermost first.

    Objects that are already built pass through, so a constructor may be given either.

    Raises:
        TypeError: a constructor refused its arguments; the message names the class.
    """
    if isinstance(config, Mapping):
        arguments = {key: build(value) for key, value in config.items() if key != "type"}
        if "type" not in config:
            return arguments
        constructor = config["type"]
        if not callable(constructor):
            raise TypeError(f"type must be a class, as configs in Python import it; got {constructor!r}")
        try:
            return constructor(**arguments)
        except TypeError as error:
            raise TypeError(f"{constructor.__name__}: {error}") from error
    if isinstance(config, (list, tuple)):
        return type(config)(build(value) for value in config)
    return config
