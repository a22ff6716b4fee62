"""nuScenes' 13 tables: rows of one scene as it is recorded, and the tables of a whole data set."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from perception.datasets.synthetic.actors import CLASSES, Thing
from perception.datasets.synthetic.rig import LIDAR, LIDAR_ROTATION, LIDAR_TRANSLATION, Rig

VERSION = "v1.0-trainval"
TABLES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
VISIBILITIES = ("v0-40", "v40-60", "v60-80", "v80-100")
MOVING_MPS = 0.5
# An annotator's box is a little larger than the object: it also holds noisy returns, and not the ground's.
BOX_MARGIN_M = 0.06
BOX_CLEARANCE_M = 0.03

Row = dict[str, Any]
Tables = dict[str, list[Row]]


def token(*key: object) -> str:
    """A token of 32 hexadecimal digits, the same for the same key."""
    return hashlib.md5("/".join(map(str, key)).encode(), usedforsecurity=False).hexdigest()


def yaw_quaternion(yaw: float) -> list[float]:
    """Quaternion w x y z of a turn about z (rad)."""
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def common_tables(rig: Rig) -> Tables:
    """Tables that all scenes share: categories, attributes, visibility, sensors and their calibration."""
    tables: Tables = defaultdict(list)
    for index, (category, _, _) in enumerate(CLASSES.values()):
        tables["category"].append(
            {"token": token("category", category), "name": category, "description": "", "index": index}
        )
    tables["attribute"] = [{"token": token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES]
    tables["visibility"] = [
        {"token": str(k), "level": level, "description": ""} for k, level in enumerate(VISIBILITIES, start=1)
    ]
    places: list[tuple[str, str, Any, Any, list[list[float]]]] = [
        (LIDAR, "lidar", LIDAR_TRANSLATION, LIDAR_ROTATION, [])
    ]
    places += [(c.channel, "camera", c.translation, c.rotation, c.intrinsic.tolist()) for c in rig.cameras]
    for channel, modality, translation, rotation, intrinsic in places:
        unit = np.array(rotation) / np.linalg.norm(rotation)
        tables["sensor"].append({"token": token("sensor", channel), "channel": channel, "modality": modality})
        tables["calibrated_sensor"].append(
            {
                "token": token("calibrated_sensor", channel),
                "sensor_token": token("sensor", channel),
                "translation": list(translation),
                "rotation": unit.tolist(),
                "camera_intrinsic": intrinsic,
            }
        )
    return tables


class SceneTables:
    """Rows of one scene, added in order of time and closed with `finish`."""

    def __init__(self, name: str, log: str, location: str) -> None:
        self.name, self.log = name, log
        self.tables: Tables = defaultdict(list)
        self.tables["log"].append(
            {
                "token": token("log", log),
                "logfile": log,
                "vehicle": "synthetic",
                "date_captured": "2020-01-01",
                "location": location,
            }
        )
        self.tables["map"].append(
            {
                "token": token("map", log),
                "log_tokens": [token("log", log)],
                "category": "semantic_prior",
                "filename": f"maps/{log}.png",
            }
        )
        self._last_data: dict[str, Row] = {}
        self._last_annotation: dict[int, Row] = {}
        self._instances: dict[int, Row] = {}

    def sample_token(self, keyframe: int) -> str:
        """Token of the k-th key frame."""
        return token(self.log, "sample", keyframe)

    def add_sample(self, keyframe: int, timestamp_us: int) -> None:
        """A key frame."""
        rows = self.tables["sample"]
        row = {
            "token": self.sample_token(keyframe),
            "timestamp": timestamp_us,
            "prev": rows[-1]["token"] if rows else "",
            "next": "",
            "scene_token": token("scene", self.log),
        }
        if rows:
            rows[-1]["next"] = row["token"]
        rows.append(row)

    def add_data(
        self,
        channel: str,
        keyframe: int,
        timestamp_us: int,
        ego_pose: np.ndarray,
        filename: str,
        *,
        is_key: bool,
        size: tuple[int, int] = (0, 0),
    ) -> None:
        """A sensor reading of a channel, with its own ego pose [4]; size = (width, height) of a picture."""
        own = token(self.log, channel, timestamp_us)
        before = self._last_data.get(channel)
        row = {
            "token": own,
            "sample_token": self.sample_token(keyframe),
            "ego_pose_token": own,
            "calibrated_sensor_token": token("calibrated_sensor", channel),
            "timestamp": timestamp_us,
            "fileformat": "pcd" if channel == LIDAR else "jpg",
            "is_key_frame": is_key,
            "height": size[1],
            "width": size[0],
            "filename": filename,
            "prev": before["token"] if before else "",
            "next": "",
        }
        if before:
            before["next"] = own
        self._last_data[channel] = row
        self.tables["sample_data"].append(row)
        self.tables["ego_pose"].append(
            {
                "token": own,
                "timestamp": timestamp_us,
                "translation": [float(v) for v in ego_pose[:3]],
                "rotation": yaw_quaternion(float(ego_pose[3])),
            }
        )

    def add_annotation(
        self,
        keyframe: int,
        index: int,
        actor: Thing,
        pose: np.ndarray,
        speed_mps: float,
        visible: float,
        num_points: int,
    ) -> None:
        """An actor's box at a key frame; `visible` is the share of its pixels that cameras see."""
        instance = token(self.log, "instance", index)
        own = token(self.log, "annotation", index, keyframe)
        length, width, height = annotated_size(actor)
        before = self._last_annotation.get(index)
        attribute = attribute_name(actor, speed_mps)
        row = {
            "token": own,
            "sample_token": self.sample_token(keyframe),
            "instance_token": instance,
            "visibility_token": str(1 + int(np.searchsorted([0.4, 0.6, 0.8], visible, side="right"))),
            "attribute_tokens": [token("attribute", attribute)] if attribute else [],
            "translation": [float(pose[0]), float(pose[1]), float(pose[2] + BOX_CLEARANCE_M + height / 2)],
            "size": [width, length, height],
            "rotation": yaw_quaternion(float(pose[3])),
            "prev": before["token"] if before else "",
            "next": "",
            "num_lidar_pts": num_points,
            "num_radar_pts": 0,
        }
        if before:
            before["next"] = own
            self._instances[index]["nbr_annotations"] += 1
            self._instances[index]["last_annotation_token"] = own
        else:
            self._instances[index] = {
                "token": instance,
                "category_token": token("category", CLASSES[actor.class_name][0]),
                "nbr_annotations": 1,
                "first_annotation_token": own,
                "last_annotation_token": own,
            }
        self._last_annotation[index] = row
        self.tables["sample_annotation"].append(row)

    def finish(self, description: str) -> Tables:
        """All rows of the scene."""
        samples = self.tables["sample"]
        self.tables["instance"] = list(self._instances.values())
        self.tables["scene"].append(
            {
                "token": token("scene", self.log),
                "log_token": token("log", self.log),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": self.name,
                "description": description,
            }
        )
        return dict(self.tables)


def annotated_size(actor: Thing) -> tuple[float, float, float]:
    """Length, width, height (m) of an actor's annotated box."""
    length, width, height = actor.size
    return (
        round(length + BOX_MARGIN_M, 3),
        round(width + BOX_MARGIN_M, 3),
        round(height - BOX_CLEARANCE_M + BOX_MARGIN_M / 2, 3),
    )


def attribute_name(actor: Thing, speed_mps: float) -> str:
    """nuScenes attribute of an actor at a speed; empty for cones and barriers."""
    moving = speed_mps > MOVING_MPS
    if actor.class_name in ("traffic_cone", "barrier"):
        return ""
    if actor.class_name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if actor.class_name in ("bicycle", "motorcycle"):
        return "cycle.with_rider" if actor.rider else "cycle.without_rider"
    if moving:
        return "vehicle.moving"
    return "vehicle.parked" if actor.parked else "vehicle.stopped"


def write_tables(root: Path, parts: list[Tables]) -> None:
    """Write the tables of a data set: its parts' rows one after another."""
    folder = root / VERSION
    folder.mkdir(parents=True)
    for name in TABLES:
        rows = [row for part in parts for row in part.get(name, [])]
        (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))
