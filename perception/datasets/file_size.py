"""A limit on what is read at once."""

import os
from pathlib import Path

GIB = 1 << 30


def refuse_huge(path: str | Path, limit_bytes: int) -> None:
    """Raises ValueError naming a file that is larger than it can be, before memory is filled with it."""
    if (size := os.stat(path).st_size) > limit_bytes:
        raise ValueError(f"{path} has {size} bytes and is damaged or something else: the limit is {limit_bytes}")
