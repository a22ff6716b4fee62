"""Collecting the edges of every camera over the key frames of a recording."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perception.datasets.sensor_files import read_image, read_points
from perception.evaluation.sensors.alignment import EdgeSet
from perception.evaluation.sensors.edges import DepthEdges, depth_edges, edge_distance
from perception.geometry import homogeneous_intrinsics

WIDTH_PX = 800


def sweep_edges(frames: Sequence[dict[str, Any]]) -> list[DepthEdges | None]:
    """The depth edges of each frame; None for one without a readable cloud that has its rings."""
    found: list[DepthEdges | None] = []
    for frame in frames:
        features = frame["lidar_points"].get("num_pts_feats", 5)
        try:
            points = read_points(frame["lidar_path"], features) if frame["lidar_path"] and features >= 5 else None
        except (OSError, ValueError):  # the file checks name it
            points = None
        found.append(None if points is None or not len(points) else depth_edges(points))
    return found


def camera_edges(frames: Sequence[dict[str, Any]], sweeps: Sequence[DepthEdges | None], camera: str) -> EdgeSet | None:
    """The edge points of one camera and the edge distances of its images; None where there is nothing to compare."""
    maps: list[np.ndarray] = []
    matrices, points, frame_of, kinds = [], [], [], []
    for frame, sweep in zip(frames, sweeps, strict=True):
        entry = frame["images"].get(camera)
        if entry is None or sweep is None:
            continue
        try:
            image, factor = read_image(entry["img_path"], (1, WIDTH_PX))
        except (OSError, ValueError):  # the file checks name it
            continue
        scale = np.array([[1 / factor, 0, (1 / factor - 1) / 2], [0, 1 / factor, (1 / factor - 1) / 2], [0, 0, 1]])
        intrinsics = scale @ homogeneous_intrinsics(entry["cam2img"])[:3, :3]
        camera_from_lidar = np.asarray(entry["lidar2cam"])
        for kind, edge in enumerate((sweep.side, sweep.top)):
            mine = edge @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
            pixel = (
                mine[:, :2] / np.maximum(mine[:, 2:], 0.1) * [intrinsics[0, 0], intrinsics[1, 1]] + intrinsics[:2, 2]
            )
            seen = (mine[:, 2] > 1.0) & (pixel > 0).all(1) & (pixel < [image.shape[1] - 1, image.shape[0] - 1]).all(1)
            points.append(mine[seen])
            frame_of.append(np.full(int(seen.sum()), len(maps)))
            kinds.append(np.full(int(seen.sum()), kind))
        maps.append(edge_distance(image))
        matrices.append(intrinsics)
    if not maps or len({m.shape for m in maps}) > 1:
        return None
    return EdgeSet(np.stack(maps), np.stack(matrices), *(np.concatenate(part) for part in (points, frame_of, kinds)))
