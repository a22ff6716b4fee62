"""The submission file: frames, sizes, attributes, limits and bad boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES
from nuscenes.utils.data_classes import Box
from pyquaternion import Quaternion

from perception.evaluation.json_file import write_json
from perception.evaluation.nuscenes_results import NuScenesResults, attribute_of

CAR, PEDESTRIAN = DETECTION_NAMES.index("car"), DETECTION_NAMES.index("pedestrian")
BOX = [1.0, 2.0, 0.5, 4.0, 2.0, 1.5, 0.3, 1.0, 0.0]


def pose(angle_rad: float = 0.0) -> np.ndarray:
    matrix = Quaternion(axis=[0.03, -0.02, 1.0], angle=angle_rad).transformation_matrix
    matrix[:3, 3] = 400.0, 1100.0, 1.8
    return matrix


@pytest.mark.parametrize("yaw_rad", [-3.1, -1.0, 0.0, 0.7, 3.0])
def test_pose_agrees_with_the_devkits_box(yaw_rad: float) -> None:
    """The devkit's own Box, moved from the LiDAR to the global frame, is the independent answer."""
    matrix = pose(2.1)
    row = np.array([10.0, -4.0, 0.5, 4.5, 1.9, 1.6, yaw_rad, 3.0, -2.0])
    results = NuScenesResults()
    results.add("s", row[None], np.array([0.5]), np.array([CAR]), matrix.astype(np.float32))
    entry = results.samples["s"][0]

    box = Box(row[:3], row[[4, 3, 5]], Quaternion(axis=[0, 0, 1], angle=yaw_rad), velocity=(3.0, -2.0, 0.0))
    box.rotate(Quaternion(matrix=matrix))
    box.translate(matrix[:3, 3])
    np.testing.assert_allclose(entry["translation"], box.center, atol=1e-4)
    np.testing.assert_allclose(entry["size"], box.wlh, atol=1e-6)
    np.testing.assert_allclose(Quaternion(entry["rotation"]).rotation_matrix, box.rotation_matrix, atol=1e-5)
    np.testing.assert_allclose(entry["velocity"], box.velocity[:2], atol=1e-5)


def test_at_most_500_and_the_best() -> None:
    scores = np.random.default_rng(0).random(700)
    results = NuScenesResults()
    results.add("s", np.tile(BOX, (700, 1)), scores, np.zeros(700, int), pose())
    assert [entry["detection_score"] for entry in results.samples["s"]] == sorted(scores.tolist(), reverse=True)[:500]


def test_bad_boxes_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("perception.evaluation.nuscenes_results.print_log", lambda text, *_: said.append(text))
    boxes = np.tile(BOX, (6, 1))
    boxes[0, 0], boxes[1, 6], boxes[2, 3] = np.nan, np.inf, 0.0
    boxes[4, 7] = np.nan  # only the velocity is unknown: the box stays
    scores = np.array([0.9, 0.8, 0.7, np.nan, 0.5, 0.4])
    results = NuScenesResults()
    results.add("s", boxes, scores, np.zeros(6, int), pose())
    results.add("empty", np.zeros((0, 9)), np.zeros(0), np.zeros(0, int), pose())
    assert (results.dropped, results.stilled) == (4, 1)
    content = json.loads(results.write(tmp_path / "results.json").read_text())
    assert [text.split()[0] for text in said] == ["4", "1"]
    assert [entry["detection_score"] for entry in content["results"]["s"]] == [0.5, 0.4]
    assert content["results"]["s"][0]["velocity"] == [0.0, 0.0]
    assert content["results"]["empty"] == []
    assert content["meta"] == {
        "use_camera": True,
        "use_lidar": True,
        "use_radar": False,
        "use_map": False,
        "use_external": False,
    }


@pytest.mark.parametrize(
    ("name", "speed_mps", "predicted", "expected"),
    [
        ("car", 0.1, "", "vehicle.parked"),
        ("car", 0.3, "", "vehicle.moving"),
        ("bus", 0.0, "", "vehicle.stopped"),
        ("pedestrian", 0.0, "", "pedestrian.standing"),
        ("pedestrian", 1.0, "", "pedestrian.moving"),
        ("bicycle", 1.0, "", "cycle.with_rider"),
        ("motorcycle", 0.0, "", "cycle.without_rider"),
        ("barrier", 5.0, "", ""),
        ("car", 0.0, "vehicle.stopped", "vehicle.stopped"),
        ("car", 0.0, "pedestrian.moving", "vehicle.parked"),  # does not suit the class
        ("traffic_cone", 0.0, "vehicle.parked", ""),
    ],
)
def test_attribute(name: str, speed_mps: float, predicted: str, expected: str) -> None:
    index = ATTRIBUTE_NAMES.index(predicted) if predicted else -1
    assert attribute_of(name, speed_mps, index) == expected


def test_refusals() -> None:
    results = NuScenesResults()
    one = np.array([BOX]), np.ones(1), np.zeros(1, int)
    with pytest.raises(ValueError, match="not nuScenes detection classes"):
        NuScenesResults(["car", "tram"])
    with pytest.raises(ValueError, match=r"label is outside 0\.\.9"):
        results.add("s", *one[:2], np.array([10]), pose())
    with pytest.raises(ValueError, match="2 scores"):
        results.add("s", one[0], np.ones(2), one[2], pose())
    with pytest.raises(ValueError, match="not a rotation"):
        results.add("s", *one, np.diag([2.0, 2.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="attribute index 8"):
        results.add("s", *one, pose(), np.array([8]))
    results.add("s", *one, pose())
    with pytest.raises(ValueError, match="s was added twice"):
        results.add("s", *one, pose())


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a" / "scores.json", {"x": float("nan"), "y": [1.5, float("inf")], 0.5: 1})
    assert json.loads(path.read_text()) == {"x": None, "y": [1.5, None], "0.5": 1}
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_json(path, {"x": 1, "y": object()})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["scores.json"]
