"""Files that are missing, cut short, or the same one twice."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from perception.evaluation.sensors.recording import LIDAR, Reading

_IMAGE_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}
_HEAD_BYTES = 4096


@dataclass
class FileFaults:
    """What is wrong with the files of one sensor, by name (of the frame where there is no file)."""

    files: int = 0
    missing: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)


def file_faults(readings: Iterable[Reading], point_features: int = 5) -> FileFaults:
    """Look at every file of one sensor; readings in order of time.

    Truncated is a cloud that is no whole number of points, an image without its format's end marker, or an empty file.
    Duplicated is a file with the content of the one before it, as a sensor that froze leaves it.
    """
    faults = FileFaults()
    before: tuple[str, int] = ("", -1)
    for reading in readings:
        faults.files += 1
        try:
            size = os.stat(reading.path).st_size if reading.path else -1
        except FileNotFoundError:
            size = -1
        if size < 0:
            faults.missing.append(Path(reading.path).name or f"frame {reading.frame}")
            continue
        whole = size % (4 * point_features) == 0 if reading.sensor == LIDAR else _image_is_whole(reading.path)
        if size == 0 or not whole:
            faults.truncated.append(Path(reading.path).name)
        elif size == before[1] and _same_content(before[0], reading.path):
            faults.duplicated.append(Path(reading.path).name)
        before = (reading.path, size)
    return faults


def _image_is_whole(path: str) -> bool:
    with open(path, "rb") as file:
        start = file.read(2)
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 1024))
        return start in _IMAGE_ENDS and _IMAGE_ENDS[start] in file.read()


def _same_content(first: str, second: str) -> bool:
    with open(first, "rb") as a, open(second, "rb") as b:
        if a.read(_HEAD_BYTES) != b.read(_HEAD_BYTES):
            return False
        return a.read() == b.read()
