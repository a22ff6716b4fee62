"""What a command line changes in a config: `--cfg-options KEY=VALUE`, `--on-bad-data` and `--quiet`."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config

from perception.datasets.bad_data import set_on_bad_data


def parse_options(items: Sequence[str]) -> dict[str, Any]:
    """{"a.b": value} of ["a.b=value", ...]: values as Python literals, anything else as text.

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


def apply_options(config: Config, args: argparse.Namespace) -> Config:
    """The config with what the tool's `--on-bad-data` and `--quiet` change, in place."""
    if getattr(args, "on_bad_data", None):
        set_on_bad_data(config._cfg_dict, args.on_bad_data)
    if getattr(args, "quiet", False):
        config.log_level = "WARNING"
        if config.get("default_hooks"):
            config.default_hooks.pop("progress", None)
    return config
