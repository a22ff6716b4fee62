"""What nuScenes' tables must hold: for every field that is read here, what may stand in it.

A flipped bit in a table makes another number as easily as a broken file. What can be told from the value alone is told
here: numbers that are not finite or of no sensible size, quaternions that are none, tokens that are not text. A wrong
digit that leaves a sensible value cannot be told.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

_MAX_COORDINATE_M = 1e7
_MAX_SIZE_M = 200.0  # a train
_MAX_FOCAL_PX = 1e6


class Kind(NamedTuple):
    """What a field must be, in words, and the test of it."""

    words: str
    holds: Callable[[Any], bool]


def _is_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(v) in (int, float) and math.isfinite(v) for v in value)
    )


def _is_vector(value: Any) -> bool:
    return _is_numbers(value, 3) and all(abs(v) <= _MAX_COORDINATE_M for v in value)


def _is_quaternion(value: Any) -> bool:
    return _is_numbers(value, 4) and abs(math.hypot(*value) - 1) < 1e-2


def _is_size(value: Any) -> bool:
    return _is_numbers(value, 3) and all(0 < v <= _MAX_SIZE_M for v in value)


def _is_intrinsics(value: Any) -> bool:
    if value == []:
        return True
    if not (isinstance(value, list) and len(value) == 3 and all(_is_numbers(row, 3) for row in value)):
        return False
    (fx, _, _), (_, fy, _), last = value
    return 0 < fx <= _MAX_FOCAL_PX and 0 < fy <= _MAX_FOCAL_PX and last == [0, 0, 1]


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) < 4096 and "\0" not in value and ".." not in value.split("/")


TEXT = Kind("text", lambda v: isinstance(v, str))
TOKEN = Kind("a token", lambda v: isinstance(v, str) and v != "")
LINK = Kind("a token or empty", lambda v: isinstance(v, str))
TOKENS = Kind("a list of tokens", lambda v: isinstance(v, list) and all(isinstance(t, str) and t for t in v))
PATH = Kind("a path below the dataroot", lambda v: _is_path(v) and not v.startswith("/"))
TIME = Kind("a time in microseconds", lambda v: type(v) is int and 0 < v < 2**53)
COUNT = Kind("a count", lambda v: type(v) is int and 0 <= v < 10**7)
FLAG = Kind("true or false", lambda v: v is True or v is False)
VECTOR = Kind("three finite numbers", _is_vector)
QUATERNION = Kind("a quaternion of length 1", _is_quaternion)
SIZE = Kind("three positive lengths", _is_size)
INTRINSICS = Kind("a camera matrix or empty", _is_intrinsics)

# Table -> {field: what it must be}. Fields that are not here are not read.
# Fields that a dataroot of one's own may have beside them (perception/datasets/distortion.py).
OPTIONAL = {"calibrated_sensor": ("distortion",)}
SCHEMA: dict[str, dict[str, Kind]] = {
    "attribute": {"token": TOKEN, "name": TEXT},
    "category": {"token": TOKEN, "name": TEXT},
    "visibility": {"token": TOKEN},
    "log": {"token": TOKEN},
    "map": {"token": TOKEN, "filename": PATH},
    "sensor": {"token": TOKEN, "channel": TEXT, "modality": TEXT},
    "calibrated_sensor": {
        "token": TOKEN, "sensor_token": TOKEN, "translation": VECTOR, "rotation": QUATERNION,
        "camera_intrinsic": INTRINSICS,
    },
    "scene": {"token": TOKEN, "name": TEXT},
    "sample": {"token": TOKEN, "timestamp": TIME, "scene_token": TOKEN},
    "sample_data": {
        "token": TOKEN, "sample_token": TOKEN, "ego_pose_token": TOKEN, "calibrated_sensor_token": TOKEN,
        "timestamp": TIME, "is_key_frame": FLAG, "height": COUNT, "width": COUNT, "filename": PATH, "prev": LINK,
    },
    "ego_pose": {"token": TOKEN, "timestamp": TIME, "translation": VECTOR, "rotation": QUATERNION},
    "instance": {"token": TOKEN, "category_token": TOKEN},
    "sample_annotation": {
        "token": TOKEN, "sample_token": TOKEN, "instance_token": TOKEN, "visibility_token": LINK,
        "attribute_tokens": TOKENS, "translation": VECTOR, "size": SIZE, "rotation": QUATERNION, "prev": LINK,
        "next": LINK, "num_lidar_pts": COUNT, "num_radar_pts": COUNT,
    },
}  # fmt: skip
# (table, field) -> the table in which its tokens must be; an empty link points nowhere.
REFERENCES = {
    ("calibrated_sensor", "sensor_token"): "sensor",
    ("sample", "scene_token"): "scene",
    ("sample_data", "sample_token"): "sample",
    ("sample_data", "calibrated_sensor_token"): "calibrated_sensor",
    ("sample_data", "ego_pose_token"): "ego_pose",
    ("sample_data", "prev"): "sample_data",
    ("instance", "category_token"): "category",
    ("sample_annotation", "sample_token"): "sample",
    ("sample_annotation", "instance_token"): "instance",
    ("sample_annotation", "attribute_tokens"): "attribute",
    ("sample_annotation", "prev"): "sample_annotation",
    ("sample_annotation", "next"): "sample_annotation",
}
