"""What becomes of data that cannot be read: the run stops, or goes on without it and says so.

One option, `on_bad_data`, of the transforms that read files, of the data set and of `create_info_files`:

    "stop"  the first bad file or entry is an error that names it
    "skip"  a bad image is a camera that is missing, a bad key sweep a LiDAR that is missing, a bad previous sweep and a
            bad info entry are left out; each is named and counted

A cloud of no bytes is a cloud without points, which some sensors write: it is used, and named and counted as well.
"""

from typing import Any

CHOICES = ("stop", "skip")


def check_choice(value: str) -> str:
    """Raises ValueError where it is neither."""
    if value not in CHOICES:
        raise ValueError(f"on_bad_data is {value!r}; it is one of {', '.join(CHOICES)}")
    return value


def note(results: dict[str, Any], path: str, problem: object) -> None:
    """Record in a sample what is wrong with a file of it; PackFrame passes it on, BadDataReport counts it."""
    results.setdefault("bad_files", []).append({"path": str(path), "problem": str(problem)})


def set_on_bad_data(node: Any, choice: str) -> None:
    """Set `on_bad_data` wherever a part of a config (a data set, a pipeline, a loader) can have it, in place."""
    if isinstance(node, dict):
        if "on_bad_data" in getattr(getattr(node.get("type"), "__init__", None), "__annotations__", {}):
            node["on_bad_data"] = check_choice(choice)
        for value in node.values():
            set_on_bad_data(value, choice)
    elif isinstance(node, (list, tuple)):
        for value in node:
            set_on_bad_data(value, choice)
