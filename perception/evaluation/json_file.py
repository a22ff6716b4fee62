"""JSON on disk: written whole or not at all, and never with the NaN that other programs refuse."""

import json
import math
from pathlib import Path
from typing import Any

from perception.whole_file import whole_file


def write_json(path: str | Path, content: Any, indent: int | None = None) -> Path:
    """Write `content` as JSON, with null for every NaN or infinity. A crash leaves the previous file as it was."""
    path = Path(path)
    with whole_file(path) as file:
        json.dump(finite(content), file, indent=indent, allow_nan=False)
    return path


def finite(value: Any) -> Any:
    """The same with None for every NaN or infinity, lists for tuples and texts for keys."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
