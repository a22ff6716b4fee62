"""A nuScenes dataroot of tables alone (the official score reads no sensor file), and ground truth as arrays."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion

# One scene of the official mini_train split, one of mini_val.
SCENES = {"scene-0061": 3, "scene-0103": 2}
# category, centre in the ego frame (m), width length height (m), yaw (rad), velocity (m/s), attribute, LiDAR points
OBJECTS = [
    ("vehicle.car", (12.0, 3.0, 0.8), (1.9, 4.5, 1.6), 0.4, (6.0, 1.0), "vehicle.moving", 30),
    ("vehicle.car", (-20.0, -6.0, 0.8), (1.9, 4.5, 1.6), -2.0, (0.0, 0.0), "vehicle.parked", 12),
    ("human.pedestrian.adult", (6.0, -4.0, 0.9), (0.6, 0.7, 1.7), 1.2, (0.5, 1.0), "pedestrian.moving", 9),
    ("movable_object.barrier", (8.0, 7.0, 0.5), (2.0, 0.5, 1.0), 0.1, (0.0, 0.0), None, 5),
    ("human.pedestrian.adult", (60.0, 0.0, 0.9), (0.6, 0.7, 1.7), 0.0, (0.0, 0.0), "pedestrian.standing", 3),  # too far
    ("vehicle.truck", (15.0, -9.0, 1.5), (2.5, 7.0, 3.0), 0.0, (0.0, 0.0), "vehicle.parked", 0),  # no points
]


class Frame(NamedTuple):
    """Ground truth as a detector would give it: boxes [K,9] in the LiDAR frame, labels [K], attributes [K]."""

    token: str
    boxes: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    global_from_lidar: np.ndarray


def ground_truth(nusc: NuScenes, token: str) -> Frame:
    """Annotated boxes of a sample, brought into the LiDAR frame by matrices (the devkit's Box methods are not used)."""
    names = {row["token"]: row["name"] for row in nusc.attribute}
    sample = nusc.get("sample", token)
    lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    poses = (
        nusc.get("ego_pose", lidar["ego_pose_token"]),
        nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"]),
    )
    global_from_ego, ego_from_lidar = (transform_matrix(p["translation"], Quaternion(p["rotation"])) for p in poses)
    global_from_lidar = global_from_ego @ ego_from_lidar
    lidar_from_global = np.linalg.inv(global_from_lidar)
    boxes, labels, attributes = [], [], []
    for annotation in (nusc.get("sample_annotation", key) for key in sample["anns"]):
        name = category_to_detection_name(annotation["category_name"])
        if name is None:
            continue
        width, length, height = annotation["size"]
        pose = lidar_from_global @ transform_matrix(annotation["translation"], Quaternion(annotation["rotation"]))
        velocity = lidar_from_global[:3, :3] @ nusc.box_velocity(annotation["token"])
        boxes.append([*pose[:3, 3], length, width, height, np.arctan2(pose[1, 0], pose[0, 0]), *velocity[:2]])
        labels.append(DETECTION_NAMES.index(name))
        attributes.append(
            ATTRIBUTE_NAMES.index(names[key]) if (key := next(iter(annotation["attribute_tokens"]), "")) else -1
        )
    return Frame(
        token,
        np.array(boxes, np.float32).reshape(-1, 9),
        np.array(labels, np.int64),
        np.array(attributes, np.int64),
        global_from_lidar,
    )


def write_tables(root: Path) -> Path:
    """A v1.0-mini dataroot of two scenes with five samples, half a second apart; the ego moves and turns."""
    tables: dict[str, list[dict[str, Any]]] = {
        "attribute": [{"token": name, "name": name, "description": ""} for name in ATTRIBUTE_NAMES],
        "category": [{"token": name, "name": name, "description": ""} for name in sorted({row[0] for row in OBJECTS})],
        "visibility": [{"token": "4", "level": "v80-100", "description": ""}],
        "sensor": [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}],
        "calibrated_sensor": [
            {
                "token": "calibration",
                "sensor_token": "lidar",
                "translation": [0.9, 0.0, 1.8],
                "rotation": list(Quaternion(axis=[0.02, -0.01, 1.0], angle=-1.57)),
                "camera_intrinsic": [],
            }
        ],
        "log": [{"token": "log", "logfile": "", "vehicle": "", "date_captured": "", "location": "boston-seaport"}],
        "map": [{"token": "map", "log_tokens": ["log"], "category": "semantic_prior", "filename": "map.png"}],
    }
    for name in ("ego_pose", "instance", "sample", "sample_annotation", "sample_data", "scene"):
        tables[name] = []
    for scene, count in SCENES.items():
        tokens = [f"{scene}-{i}" for i in range(count)]
        tables["scene"].append(
            {
                "token": scene,
                "log_token": "log",
                "nbr_samples": count,
                "first_sample_token": tokens[0],
                "last_sample_token": tokens[-1],
                "name": scene,
                "description": "",
            }
        )
        for k, row in enumerate(OBJECTS):
            tables["instance"].append({"token": f"{scene}/{k}", "category_token": row[0], "nbr_annotations": count})
        for i, token in enumerate(tokens):
            _add_sample(tables, scene, tokens, i, token)
    (root / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    cv2.imwrite(str(root / "map.png"), np.zeros((2, 2), np.uint8))
    return root


def _add_sample(tables: dict[str, list[dict[str, Any]]], scene: str, tokens: list[str], i: int, token: str) -> None:
    neighbours = {"prev": tokens[i - 1] if i else "", "next": tokens[i + 1] if i + 1 < len(tokens) else ""}
    time_us = 1_500_000_000_000_000 + 500_000 * i
    ego = Quaternion(axis=[0.01, 0.02, 1.0], angle=0.3 + 0.1 * i)
    position = np.array([400.0 + 3.0 * i, 1100.0, 0.0])
    tables["sample"].append({"token": token, "timestamp": time_us, "scene_token": scene, **neighbours})
    tables["ego_pose"].append(
        {"token": token, "timestamp": time_us, "rotation": list(ego), "translation": position.tolist()}
    )
    tables["sample_data"].append(
        {
            "token": token,
            "sample_token": token,
            "ego_pose_token": token,
            "calibrated_sensor_token": "calibration",
            "timestamp": time_us,
            "fileformat": "pcd",
            "is_key_frame": True,
            "height": 0,
            "width": 0,
            "filename": "samples/LIDAR_TOP/none.pcd.bin",
            "prev": "",
            "next": "",
        }
    )
    for k, (_, centre, size, yaw, velocity, attribute, points) in enumerate(OBJECTS):
        if i == 0:
            place = ego.rotate(np.array(centre)) + position
        else:
            place = tables["sample_annotation"][-len(OBJECTS)]["translation"] + 0.5 * np.array([*velocity, 0.0])
        tables["sample_annotation"].append(
            {
                "token": f"{token}/{k}",
                "sample_token": token,
                "instance_token": f"{scene}/{k}",
                "visibility_token": "4",
                "attribute_tokens": [attribute] if attribute else [],
                "translation": place.tolist(),
                "size": list(size),
                "rotation": list(Quaternion(axis=[0, 0, 1], angle=yaw)),
                "prev": f"{neighbours['prev']}/{k}" if neighbours["prev"] else "",
                "next": f"{neighbours['next']}/{k}" if neighbours["next"] else "",
                "num_lidar_pts": points,
                "num_radar_pts": 0,
            }
        )
