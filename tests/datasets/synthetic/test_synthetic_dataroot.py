"""The generated dataroot, read by the stock devkit."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.evaluate import NuScenesEval
from nuscenes.eval.detection.utils import category_to_detection_name, detection_name_to_rel_attributes
from nuscenes.nuscenes import NuScenes
from nuscenes.utils import splits
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from perception.datasets.synthetic.tables import TABLES

CAMERAS = {"CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"}


def test_scenes_belong_to_the_official_splits(small_nuscenes: NuScenes) -> None:
    names = [scene["name"] for scene in small_nuscenes.scene]
    assert [n in splits.train for n in names] == [True, False]
    assert [n in splits.val for n in names] == [False, True]
    assert [scene["nbr_samples"] for scene in small_nuscenes.scene] == [3, 3]


def test_every_reference_between_tables_resolves(small_nuscenes: NuScenes) -> None:
    known = {name: {row["token"] for row in getattr(small_nuscenes, name)} for name in TABLES}
    assert all(len(known[name]) == len(getattr(small_nuscenes, name)) for name in TABLES), "tokens are unique"
    checked = Counter()
    for name in TABLES:
        for row in getattr(small_nuscenes, name):
            for field, value in row.items():
                stem = field.removesuffix("_tokens").removesuffix("_token")
                target = {"log": "log", "prev": name, "next": name}.get(stem, stem)
                if (
                    field == "token"
                    or (name, field) == ("map", "category")
                    or (target not in known and not field.startswith(("first_", "last_")))
                ):
                    continue
                if field.startswith(("first_", "last_")):
                    target = "sample_annotation" if name == "instance" else "sample"
                for reference in value if isinstance(value, list) else [value]:
                    if reference != "" and isinstance(reference, str):
                        assert reference in known[target], (name, field)
                        checked[target] += 1
    assert checked.keys() >= set(TABLES) - {"map"}


def test_chains_run_forward_in_time(small_nuscenes: NuScenes) -> None:
    for scene in small_nuscenes.scene:
        sample = small_nuscenes.get("sample", scene["first_sample_token"])
        stamps = [sample["timestamp"]]
        while sample["next"]:
            sample = small_nuscenes.get("sample", sample["next"])
            stamps.append(sample["timestamp"])
        assert np.diff(stamps).tolist() == [500_000] * 2 and sample["token"] == scene["last_sample_token"]
        data = small_nuscenes.get("sample_data", sample["data"]["LIDAR_TOP"])
        stamps = [data["timestamp"]]
        while data["prev"]:
            data = small_nuscenes.get("sample_data", data["prev"])
            stamps.append(data["timestamp"])
        # Ten sweeps before each of the three key frames, the first one included.
        assert np.diff(stamps).tolist() == [-50_000] * 30


def test_files_are_there_and_whole(small_root: Path, small_nuscenes: NuScenes) -> None:
    for data in small_nuscenes.sample_data:
        path = small_root / data["filename"]
        if data["channel"] == "LIDAR_TOP":
            points = np.fromfile(path, dtype=np.float32).reshape(-1, 5)
            assert len(points) > 8000 and np.isfinite(points).all()
            assert points[:, 3].min() >= 0 and points[:, 3].max() <= 255
            assert set(np.unique(points[:, 4])) <= set(range(32))
        else:
            image = cv2.imread(str(path))
            assert image.shape == (108, 192, 3) == (data["height"], data["width"], 3)
            assert image.std() > 8, "a picture, not a colour"
    assert {d["channel"] for d in small_nuscenes.sample_data} == CAMERAS | {"LIDAR_TOP"}


def test_camera_and_lidar_clocks_differ_as_on_the_real_car(small_nuscenes: NuScenes) -> None:
    for sample in small_nuscenes.sample:
        assert set(sample["data"]) == CAMERAS | {"LIDAR_TOP"}
        late = {
            c: small_nuscenes.get("sample_data", t)["timestamp"] - sample["timestamp"]
            for c, t in sample["data"].items()
        }
        assert late["LIDAR_TOP"] == 0 and late["CAM_FRONT"] == -35_500 and late["CAM_FRONT_LEFT"] == -43_100


def test_number_of_points_in_boxes_is_the_devkits(small_nuscenes: NuScenes) -> None:
    total = 0
    for sample in small_nuscenes.sample:
        path, boxes, _ = small_nuscenes.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = np.fromfile(path, dtype=np.float32).reshape(-1, 5)[:, :3].T.astype(np.float64)
        for box in boxes:
            recorded = small_nuscenes.get("sample_annotation", box.token)["num_lidar_pts"]
            assert abs(int(points_in_box(box, points).sum()) - recorded) <= 1  # a point on a face may round either way
            total += recorded
    assert total > 2000


def test_velocities_and_attributes_agree(small_nuscenes: NuScenes) -> None:
    seen = Counter()
    for annotation in small_nuscenes.sample_annotation:
        name = category_to_detection_name(annotation["category_name"])
        attributes = [small_nuscenes.get("attribute", t)["name"] for t in annotation["attribute_tokens"]]
        assert len(attributes) == (0 if name in ("traffic_cone", "barrier") else 1)
        if not attributes:
            continue
        assert attributes[0] in detection_name_to_rel_attributes(name)
        speed = float(np.linalg.norm(small_nuscenes.box_velocity(annotation["token"])[:2]))
        if np.isnan(speed):
            continue
        seen[attributes[0]] += 1
        if attributes[0] == "vehicle.parked":
            assert speed < 1e-6
        elif attributes[0] == "pedestrian.moving":
            assert 0.5 < speed < 2.5
        elif attributes[0] == "pedestrian.standing":
            assert speed < 1e-6
        elif attributes[0] == "vehicle.moving":
            assert 0.05 < speed < 20
    assert {"vehicle.parked", "vehicle.moving", "pedestrian.standing", "pedestrian.moving"} <= set(seen)


def test_moving_boxes_point_where_they_go(small_nuscenes: NuScenes) -> None:
    angles = []
    for annotation in small_nuscenes.sample_annotation:
        velocity = small_nuscenes.box_velocity(annotation["token"])[:2]
        if np.linalg.norm(velocity) > 2.0:
            yaw = Quaternion(annotation["rotation"]).yaw_pitch_roll[0]
            angles.append(abs((np.arctan2(velocity[1], velocity[0]) - yaw + np.pi) % (2 * np.pi) - np.pi))
    assert len(angles) > 20 and max(angles) < 0.2


def test_map_mask_holds_the_road_under_the_car(small_nuscenes: NuScenes) -> None:
    for sample in small_nuscenes.sample:
        scene = small_nuscenes.get("scene", sample["scene_token"])
        record = next(m for m in small_nuscenes.map if scene["log_token"] in m["log_tokens"])
        data = small_nuscenes.get("sample_data", sample["data"]["LIDAR_TOP"])
        x, y, _ = small_nuscenes.get("ego_pose", data["ego_pose_token"])["translation"]
        assert record["mask"].is_on_mask(x, y).all()
        assert not record["mask"].is_on_mask(np.array([x, x + 80, x - 80]), np.array([y - 80, y, y])).all()


def test_ground_truth_as_predictions_scores_one(small_nuscenes: NuScenes, tmp_path: Path) -> None:
    results = {}
    for sample in small_nuscenes.sample:
        if small_nuscenes.get("scene", sample["scene_token"])["name"] not in splits.val:
            continue
        rows = [small_nuscenes.get("sample_annotation", t) for t in sample["anns"]]
        results[sample["token"]] = [
            {
                "sample_token": sample["token"],
                "translation": row["translation"],
                "size": row["size"],
                "rotation": row["rotation"],
                "velocity": np.nan_to_num(small_nuscenes.box_velocity(row["token"])[:2]).tolist(),
                "detection_name": category_to_detection_name(row["category_name"]),
                "detection_score": 0.5,
                "attribute_name": "".join(small_nuscenes.get("attribute", t)["name"] for t in row["attribute_tokens"]),
            }
            for row in rows
            if row["num_lidar_pts"] > 0
        ]
    meta = dict.fromkeys(("use_camera", "use_lidar", "use_radar", "use_map", "use_external"), False)
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"meta": meta, "results": results}))
    config = config_factory("detection_cvpr_2019")
    metrics, _ = NuScenesEval(small_nuscenes, config, str(path), "val", str(tmp_path), verbose=False).evaluate()
    summary = metrics.serialize()
    found = [ap for ap in summary["mean_dist_aps"].values() if ap > 0]
    # The devkit's precision-recall interpolation leaves a trace of error where a class has few boxes.
    assert len(found) >= 8 and min(found) > 0.97
    assert summary["tp_errors"]["trans_err"] < 1.0


@pytest.mark.parametrize("field", ["visibility_token", "num_lidar_pts"])
def test_objects_are_seen_to_different_degrees(small_nuscenes: NuScenes, field: str) -> None:
    values = Counter(row[field] for row in small_nuscenes.sample_annotation)
    assert len(values) >= 4
