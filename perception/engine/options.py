"""`--cfg-options KEY=VALUE`: values as Python literals, anything else as text."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any


def parse_options(items: Sequence[str]) -> dict[str, Any]:
    """{"a.b": value} of ["a.b=value", ...].

    Raises:
        ValueError: an item without "=".
    """
    options = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise ValueError(f"--cfg-options takes KEY=VALUE, got {item!r}")
        try:
            options[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[key] = text
    return options
