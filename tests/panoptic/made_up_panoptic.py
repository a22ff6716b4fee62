"""Sizes and categories of the made-up panoptic files, and how to spoil one."""

import json
from pathlib import Path
from typing import Any

HEIGHT, WIDTH = 72, 128
CAR, GROUND, SKY = 1, 11, 13


def change(path: Path, out: Path, edit: Any) -> Path:
    """A copy of a JSON file in which `edit` changes something."""
    content = json.loads(path.read_text())
    edit(content)
    out.write_text(json.dumps(content))
    return out
