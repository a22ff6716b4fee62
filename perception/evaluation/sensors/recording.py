"""A recording as the checks see it: every file with its sensor and time, and key frames with their calibration."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.datasets.frames import read_frames
from perception.datasets.info_files import POINT_FEATURES

LIDAR = "LIDAR_TOP"


@dataclass(frozen=True)
class Reading:
    """One file of a sensor. time_s is None in a folder without times; a path of "" says that the frame has no file."""

    sensor: str
    path: str
    time_s: float | None
    scene: str
    frame: str
    is_key: bool


@dataclass(frozen=True)
class Recording:
    """Attributes:
    sensors: the LiDAR and the cameras by name.
    readings: in order of time.
    frames: tokens of the key frames that the LiDAR saw, in order of time.
    entry: token -> info entry of the key frame; made when it is asked for, since nuScenes has 34,000 of them.
    """

    sensors: list[str]
    readings: list[Reading]
    frames: list[str]
    entry: Callable[[str], dict[str, Any]]

    @property
    def cameras(self) -> list[str]:
        return [name for name in self.sensors if name != LIDAR]

    def of(self, sensor: str) -> list[Reading]:
        """The readings of a sensor in order of time."""
        return [reading for reading in self.readings if reading.sensor == sensor]

    def spread(self, count: int) -> list[dict[str, Any]]:
        """At most `count` key frames, evenly spread."""
        step = max(1, -(-len(self.frames) // count))
        return [self.entry(token) for token in self.frames[::step]]


def read_recording(path: str | Path, version: str | None = None, scenes: Sequence[str] = ()) -> Recording:
    """A nuScenes dataroot, whole or some of its scenes by name, or a folder of frames (perception/datasets/frames.py).

    Raises FileNotFoundError or ValueError as `read_frames` does, and ValueError for a scene that there is not.
    """
    path = Path(path)
    if (path / "calibration.json").is_file():
        if scenes:
            raise ValueError(f"{path} is a folder of frames: it has no scenes")
        return _folder(path)
    return _dataroot(path, version, scenes)


def _folder(path: Path) -> Recording:
    frames = read_frames(path)
    cameras = list(json.loads((path / "calibration.json").read_text(encoding="utf-8"))["cameras"])
    readings = []
    for frame in frames:
        readings.append(Reading(LIDAR, frame["lidar_path"] or "", None, "", frame["token"], True))
        for name in cameras:
            image = frame["images"].get(name)
            readings.append(Reading(name, image["img_path"] if image else "", None, "", frame["token"], True))
    by_token = {frame["token"]: frame for frame in frames}
    return Recording([LIDAR, *cameras], readings, list(by_token), by_token.__getitem__)


def _dataroot(root: Path, version: str | None, scenes: Sequence[str]) -> Recording:
    from perception.datasets.info_files import resolve_entry
    from perception.datasets.nuscenes_infos import sample_entry
    from perception.datasets.nuscenes_tables import open_nuscenes

    if not root.is_dir():
        raise FileNotFoundError(f"no such file or folder: {root}")
    versions = sorted(table.parent.name for table in root.glob("*/sample.json"))
    if not versions:
        raise FileNotFoundError(f"{root} has neither calibration.json nor the tables of a nuScenes dataroot")
    if version is None and len(versions) > 1:
        raise ValueError(f"{root} has the versions {', '.join(versions)}: say which")
    nusc = open_nuscenes(root, version or versions[0])
    names = {scene["token"]: scene["name"] for scene in nusc.scene}
    unknown = set(scenes) - set(names.values())
    if unknown:
        raise ValueError(f"{root} has no scenes {', '.join(sorted(unknown))}")
    scene_of = {sample["token"]: names[sample["scene_token"]] for sample in nusc.sample}
    readings = [
        Reading(
            row["channel"],
            str(root / row["filename"]),
            row["timestamp"] / 1e6,
            scene_of[row["sample_token"]],
            row["sample_token"],
            row["is_key_frame"],
        )
        for row in sorted(nusc.sample_data, key=lambda row: row["timestamp"])
        if row["sensor_modality"] in ("lidar", "camera") and (not scenes or scene_of[row["sample_token"]] in scenes)
    ]
    sensors = sorted({reading.sensor for reading in readings}, key=lambda name: (name != LIDAR, name))
    samples = [s for s in nusc.sample if not scenes or scene_of[s["token"]] in scenes]
    for sample in samples:
        for sensor in set(sensors) - set(sample["data"]):
            readings.append(
                Reading(sensor, "", sample["timestamp"] / 1e6, scene_of[sample["token"]], sample["token"], True)
            )

    def entry(token: str) -> dict[str, Any]:
        frame = sample_entry(nusc, token, 0, sweeps=0)
        frame.pop("instances")
        resolve_entry(frame, root)
        frame["lidar_path"] = frame["lidar_points"]["lidar_path"]
        frame["lidar_points"]["num_pts_feats"] = POINT_FEATURES
        return frame

    samples.sort(key=lambda sample: sample["timestamp"])
    return Recording(sensors, readings, [s["token"] for s in samples if LIDAR in s["data"]], entry)
