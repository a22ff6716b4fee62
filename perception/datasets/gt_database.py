"""A database of annotated objects with their LiDAR points, to be pasted into other frames (SECOND, Yan et al. 2018).

A folder of two files, read without running anything in them:

    points.bin     float32 [P,5]: x y z (m, LiDAR frame of the object's key frame), intensity, age (s), object by object
    index.jsonl    a first line {"gt_database": 1, "sweeps", "every", "min_points", "source"}, then one line per object:
                   class, box (9 numbers in that LiDAR frame; null where a velocity is unknown), first_point (row),
                   num_points, num_key_points (those of the key sweep), sample (token), and as the annotation has them,
                   else null: visibility (nuScenes' 1..4: up to 40, 60, 80, 100 % seen by the cameras), num_lidar_pts;
                   crc32 of the line without it and of the points

Points of previous sweeps are where ego-motion compensation puts them, so a moving object keeps only those that still
lie in its box, as in SECOND's and CenterPoint's databases.
"""

import json
import math
import zlib
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perception.datasets.file_size import GIB, refuse_huge

DATABASE_VERSION = 1
INDEX_FILE, POINTS_FILE = "index.jsonl", "points.bin"
_POINT_COLUMNS, _BOX_FIELDS = 5, 9
_MAX_INDEX_BYTES = 8 * GIB  # nuScenes' has 0.3
_REMEDY = "make it anew with tools/create_data.py gt-database"


class GTObjects(NamedTuple):
    """Objects of one class.

    Attributes:
        boxes: [K,9] float32, gravity centre, in the LiDAR frame of their key frame; NaN where a velocity is unknown.
        first_point, num_points: [K] int64, rows of the database's points.
        num_key_points: [K] int64, how many of them are of the key sweep.
        visibility: [K] int64, nuScenes' 1..4, 0 where it is unknown.
        record_checksum, checksum: [K] int64, of the line, and what line and points must give; -1 where it says none.
    """

    boxes: np.ndarray
    first_point: np.ndarray
    num_points: np.ndarray
    num_key_points: np.ndarray
    visibility: np.ndarray
    record_checksum: np.ndarray
    checksum: np.ndarray


def object_checksum(row: Mapping[str, Any], points: np.ndarray) -> int:
    """CRC-32 of an object: its line in the index, but for the checksum, and its points [Q,5] float32."""
    return zlib.crc32(np.ascontiguousarray(points).data, _record_checksum(row))


def _record_checksum(row: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps({key: value for key, value in row.items() if key != "crc32"}).encode())


class GTDatabase:
    """A database that `create_gt_database` wrote, opened: the index in memory, the points mapped from the disk.

    Attributes:
        header: the index's first line.
        objects: {class: its objects}.
        points: memory map [P,5] float32, read-only.

    Raises FileNotFoundError where there is none; ValueError naming the file that is damaged, cut short, of another
    version, or does not belong to the other. Either says what to do.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index, points = self.folder / INDEX_FILE, self.folder / POINTS_FILE
        for path in (index, points):
            if not path.is_file():
                raise FileNotFoundError(
                    f"no GT database at {self.folder} (no {path.name}); make it with tools/create_data.py gt-database "
                    f"--ann-file INFO_FILE --out {self.folder}, or leave GTPaste and FadeGTPaste out of the config"
                )
        refuse_huge(index, _MAX_INDEX_BYTES)
        self.header, self.objects, total = _read_index(index)
        size, expected = points.stat().st_size, total * _POINT_COLUMNS * 4
        if size != expected:
            raise ValueError(
                f"{points} has {size} bytes, but {index} speaks of {expected}: one of them was cut short, or they "
                f"belong to two databases; {_REMEDY}"
            )
        self.points: np.ndarray = np.memmap(points, dtype=np.float32, mode="r", shape=(total, _POINT_COLUMNS))

    def points_of(self, name: str, index: int) -> np.ndarray:
        """A copy of the points [Q,5] float32 of one object of class `name`.

        Raises ValueError where they, or the object's line in the index, are not what was written.
        """
        objects = self.objects[name]
        first = objects.first_point[index]
        points = np.array(self.points[first : first + objects.num_points[index]])
        expected = objects.checksum[index]
        if expected >= 0 and zlib.crc32(points.data, int(objects.record_checksum[index])) != expected:
            raise ValueError(
                f"{self.folder}: object {index} of class {name} was damaged after it was written, in {INDEX_FILE} or "
                f"from row {first} of {POINTS_FILE}; {_REMEDY}"
            )
        return points


def _read_index(path: Path) -> tuple[dict[str, Any], dict[str, GTObjects], int]:
    """(header, objects by class, number of points) of an index."""
    boxes: dict[str, array[float]] = {}
    numbers: dict[str, array[int]] = {}
    total = 0
    # Bytes that are not UTF-8 are damage, which the line's own check names.
    with open(path, encoding="utf-8", errors="replace") as file:
        header = _read_header(path, file.readline())
        for line_number, line in enumerate(file, start=2):
            try:
                row = json.loads(line)
                box = [math.nan if v is None else float(v) for v in row["box"]]
                name, first, count, key = row["class"], row["first_point"], row["num_points"], row["num_key_points"]
                if len(box) != _BOX_FIELDS or not all(map(math.isfinite, box[:7])):
                    raise ValueError("the box is not seven numbers and a velocity")
                if first != total or count < 1:
                    raise ValueError(f"the object's points should begin at row {total}")
                boxes.setdefault(name, array("d")).extend(box)
                numbers.setdefault(name, array("q")).extend((first, count, key, row["visibility"] or 0))
                numbers[name].extend((_record_checksum(row), row.get("crc32", -1)))
                total += count
            except (ValueError, KeyError, TypeError, OverflowError, AttributeError, RecursionError) as error:
                raise ValueError(f"{path}, line {line_number}, is damaged ({error}); {_REMEDY}") from error
    if not total:
        raise ValueError(f"{path} lists no objects; {_REMEDY}")
    objects = {
        name: GTObjects(
            np.array(boxes[name], dtype=np.float32).reshape(-1, _BOX_FIELDS),
            *np.array(numbers[name], dtype=np.int64).reshape(-1, 6).T.copy(),
        )
        for name in boxes
    }
    return header, objects, total


def _read_header(path: Path, line: str) -> dict[str, Any]:
    try:
        header = json.loads(line)
        version = header["gt_database"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the index of a GT database; {_REMEDY}") from error
    if version != DATABASE_VERSION:
        raise ValueError(f"{path} is of version {version}, and this code reads version {DATABASE_VERSION}; {_REMEDY}")
    return dict(header)
