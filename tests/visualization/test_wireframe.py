"""Box wireframes against the devkit's boxes and against points sampled along the edges."""

import numpy as np
import pytest
from nuscenes.utils.data_classes import Box
from pyquaternion import Quaternion

from perception.geometry.boxes import box_corners
from perception.visualization.wireframe import BOTTOM, EDGES, FRONT, project_edges

# A camera that looks along the LiDAR frame's +y, as CAM_FRONT does.
CAMERA_FROM_LIDAR = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
INTRINSICS = np.array([[500.0, 0, 320, 0], [0, 500, 180, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
IMAGE_FROM_LIDAR = INTRINSICS @ CAMERA_FROM_LIDAR


def random_boxes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(-8, 8, (count, 3)), rng.uniform(0.5, 5, (count, 3)), rng.uniform(-3, 3, (count, 3))], 1
    )


def test_front_and_bottom_are_the_devkits() -> None:
    for row in random_boxes(20, seed=0):
        box = Box(row[:3], row[[4, 3, 5]], Quaternion(axis=[0, 0, 1], angle=row[6]))
        corners = box_corners(row[None])[0]
        ahead = row[:2] + row[3] / 2 * np.array([np.cos(row[6]), np.sin(row[6])])
        np.testing.assert_allclose(corners[FRONT, :2].mean(0), ahead)
        np.testing.assert_allclose(corners[BOTTOM[:2], :2].mean(0), ahead)
        assert {tuple(c.round(6)) for c in corners[BOTTOM]} == {tuple(c.round(6)) for c in box.bottom_corners().T}


def test_every_edge_is_an_edge() -> None:
    corners = box_corners(np.array([[1.0, 2, 3, 4, 2, 1, 0.5, 0, 0]]))[0]
    lengths = sorted(np.linalg.norm(corners[EDGES[:, 0]] - corners[EDGES[:, 1]], axis=1))
    np.testing.assert_allclose(lengths, [1] * 4 + [2] * 4 + [4] * 4)


@pytest.mark.parametrize("seed", range(5))
def test_edges_hold_exactly_what_is_before_the_camera(seed: int) -> None:
    """Slow twin: points along each edge, each projected alone; those before the near plane lie on a drawn segment."""
    for corners in box_corners(random_boxes(20, seed)):
        segments = project_edges(corners, IMAGE_FROM_LIDAR)
        assert np.isfinite(segments).all()
        steps = np.linspace(0, 1, 21)[:, None]
        visible_edges = 0
        for a, b in EDGES:
            depth = (points := corners[a] + steps * (corners[b] - corners[a])) @ [0, 1, 0]
            if not (np.array([corners[a, 1], corners[b, 1]]) > 0.1).any():
                continue
            visible_edges += 1
            for x, y, z in points[depth > 0.1]:
                pixel = np.array([500 * x / y + 320, -500 * z / y + 180])
                assert min(distance(pixel, segment) for segment in segments) < 1e-6 * (1 + np.abs(pixel).max())
        assert len(segments) == visible_edges


def distance(point: np.ndarray, segment: np.ndarray) -> float:
    start, end = segment
    along = np.clip((point - start) @ (end - start) / max((end - start) @ (end - start), 1e-12), 0, 1)
    return float(np.linalg.norm(start + along * (end - start) - point))
