"""A data set's sample and a submission's entries become the arrays that frame_picture draws."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nuscenes.utils.data_classes import Box
from pyquaternion import Quaternion

from perception.visualization import sample_picture as module

NAMES = ["car", "pedestrian"]


def pose(translation: tuple[float, float, float], axis: list[float], angle_rad: float) -> np.ndarray:
    matrix = Quaternion(axis=axis, angle=angle_rad).transformation_matrix
    matrix[:3, 3] = translation
    return matrix


GLOBAL_FROM_EGO = pose((400.0, 1100.0, 0.0), [0.01, 0.02, 1.0], 0.7)
EGO_FROM_LIDAR = pose((0.9, 0.0, 1.8), [0.0, 0.0, 1.0], -math.pi / 2)  # as on nuScenes' car: y ahead


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What frame_picture is called with."""
    arguments: dict[str, Any] = {}

    def record(images: Any, image_from_lidar: np.ndarray, points: Any, class_names: Any, **others: Any) -> np.ndarray:
        arguments.update(others, image_from_lidar=image_from_lidar)
        return np.zeros((1, 1920, 3), np.uint8)

    monkeypatch.setattr(module, "frame_picture", record)
    return arguments


def sample(**changes: Any) -> dict[str, Any]:
    return {
        "token": "t",
        "lidar_points": {"lidar2ego": EGO_FROM_LIDAR},
        "ego2global": GLOBAL_FROM_EGO,
        "points": np.zeros((0, 5), np.float32),
        "camera_images": [None],
        "cameras": ["CAM_FRONT"],
        "camera_from_lidar": np.eye(4)[None],
        "intrinsics": np.diag([500.0, 500.0, 1.0, 1.0])[None],
        "image_aug": np.diag([0.5, 0.5, 1.0, 1.0])[None],
    } | changes


def test_ground_truth_stands_on_its_centre(drawn: dict[str, Any]) -> None:
    bottom = torch.tensor([[1.0, 2.0, -1.8, 4.0, 2.0, 1.6, 0.3, 1.0, 0.0]])
    truth = {"gt_bboxes_3d": SimpleNamespace(tensor=bottom), "gt_labels_3d": np.array([1])}
    module.sample_picture(sample(eval_ann_info=truth), NAMES)
    np.testing.assert_allclose(drawn["gt_boxes"][0, :7], [1.0, 2.0, -1.0, 4.0, 2.0, 1.6, 0.3], atol=1e-6)
    assert bottom[0, 2] == pytest.approx(-1.8)  # the data set's own boxes are as they were
    assert "pred_boxes" not in drawn


def test_detections_come_back_from_the_global_frame(drawn: dict[str, Any]) -> None:
    row = np.array([10.0, -4.0, -0.5, 4.5, 1.9, 1.6, 0.7, 3.0, -2.0])
    box = Box(row[:3], row[[4, 3, 5]], Quaternion(axis=[0, 0, 1], angle=row[6]), velocity=(3.0, -2.0, 0.0))
    for step in (EGO_FROM_LIDAR, GLOBAL_FROM_EGO):
        box.rotate(Quaternion(matrix=step))
        box.translate(step[:3, 3])
    entry = {
        "translation": box.center.tolist(),
        "size": box.wlh.tolist(),
        "rotation": box.orientation.elements.tolist(),
        "velocity": box.velocity[:2].tolist(),
        "detection_name": "pedestrian",
        "detection_score": 0.4,
    }
    module.sample_picture(sample(), NAMES, [entry, {**entry, "detection_name": "bus"}])
    np.testing.assert_allclose(drawn["pred_boxes"], row[None], atol=0.1)  # a submission drops the vertical velocity
    np.testing.assert_allclose(drawn["pred_boxes"][:, :7], row[None, :7], atol=1e-6)
    assert drawn["pred_labels"].tolist() == [1]
    assert drawn["pred_scores"].tolist() == [0.4]


def test_the_cars_nose_and_the_cameras(drawn: dict[str, Any]) -> None:
    module.sample_picture(sample(), NAMES, [])
    assert drawn["forward_rad"] == pytest.approx(math.pi / 2)
    assert drawn["pred_boxes"].shape == (0, 9)
    np.testing.assert_allclose(drawn["image_from_lidar"][0, 0, 0], 250.0)


def test_what_is_no_submission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("{", "[]", '{"meta": {}}', '{"results": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"results\.json is no nuScenes submission"):
            module.read_results(path)
