"""A data set of objects in random clouds, written as an info file: what a GT database is cut from in tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from perception.datasets.info_files import write_info_file
from perception.datasets.nuscenes_infos import CLASSES

SIZES = {"car": (4.5, 1.9, 1.6), "bus": (11.0, 2.9, 3.4), "pedestrian": (0.7, 0.7, 1.8), "bicycle": (1.7, 0.6, 1.3)}
RANGE_M = 40.0


def write_frames(
    root: Path,
    count: int,
    classes: tuple[str, ...] = ("car", "car", "car", "bus", "pedestrian"),
    background: int = 2000,
    sweeps: int = 1,
    seed: int = 0,
) -> Path:
    """`count` key frames, each with one object of each of `classes`, in a dataroot at `root`; the info file's path.

    The sensor moves half a metre forward between sweeps. Objects hold 10 to 60 points of the key sweep; every fourth
    has no velocity and every fifth no visibility.
    """
    rng = np.random.default_rng(seed)
    (root / "samples" / "LIDAR_TOP").mkdir(parents=True)
    samples = [_frame(root, index, classes, background, sweeps, rng) for index in range(count)]
    path = root / "nuscenes_infos_train.json"
    metainfo = {"dataset": "nuscenes", "version": "v1.0-own", "info_version": "1.1", "dataroot": "."}
    write_info_file(path, metainfo, map(json.dumps, samples))
    return path


def _frame(
    root: Path, index: int, classes: tuple[str, ...], background: int, sweeps: int, rng: np.random.Generator
) -> dict[str, Any]:
    instances = [_instance(name, len(classes) * index + i, rng) for i, name in enumerate(classes)]
    inside = [_points_inside(row["bbox_3d"], row["num_lidar_pts"], rng) for row in instances]
    key = np.concatenate([_points(rng.uniform(-1, 1, (background, 3)) * [RANGE_M, RANGE_M, 2], rng), *inside])
    entry: dict[str, Any] = {
        "token": f"sample_{index}",
        "timestamp": 1.5e9 + 0.5 * index,
        "ego2global": np.eye(4).tolist(),
        "lidar_points": {"lidar_path": _write(root, f"key_{index}", key), "lidar2ego": np.eye(4).tolist()},
        "lidar_sweeps": [],
        "instances": instances,
    }
    for i in range(1, sweeps + 1):
        pose = np.eye(4)
        pose[1, 3] = -0.5 * i
        earlier = key[rng.random(len(key)) < 0.5]
        earlier[:, :3] -= pose[:3, 3].astype(np.float32)
        path = _write(root, f"sweep_{index}_{i}", earlier)
        entry["lidar_sweeps"].append(
            {
                "timestamp": entry["timestamp"] - 0.05 * i,
                "ego2global": pose.tolist(),
                "lidar_points": {"lidar_path": path, "lidar2ego": np.eye(4).tolist()},
            }
        )
    return entry


def _instance(name: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    centre, yaw = rng.uniform(-1, 1, 3) * [RANGE_M - 5, RANGE_M - 5, 0.5], rng.uniform(-np.pi, np.pi)
    return {
        "bbox_3d": [*centre.tolist(), *SIZES[name], yaw],
        "bbox_label_3d": CLASSES.index(name),
        "velocity": [None, None] if number % 4 == 3 else rng.normal(size=2).tolist(),
        "num_lidar_pts": int(rng.integers(10, 61)),
        "visibility": 0 if number % 5 == 4 else 1 + number % 4,
    }


def _points_inside(box: list[float], count: int, rng: np.random.Generator) -> np.ndarray:
    offset = rng.uniform(-0.49, 0.49, (count, 3)) * box[3:6]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turned = np.stack(
        [cos * offset[:, 0] - sin * offset[:, 1], sin * offset[:, 0] + cos * offset[:, 1], offset[:, 2]], 1
    )
    return _points(turned + box[:3], rng)


def _points(xyz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    points = np.zeros((len(xyz), 5), dtype=np.float32)
    points[:, :3], points[:, 3] = xyz, rng.integers(0, 256, len(xyz))
    return points


def _write(root: Path, name: str, points: np.ndarray) -> str:
    path = f"samples/LIDAR_TOP/{name}.pcd.bin"
    points.tofile(root / path)
    return path
