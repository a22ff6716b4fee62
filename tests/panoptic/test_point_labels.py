"""Point labels from LiDAR points and boxes, and the synthetic world's true masks."""

import json
from pathlib import Path

import numpy as np
import pytest

from perception.datasets.nuscenes_infos import CLASSES
from perception.datasets.synthetic.panoptic import MIN_PIXELS, panoptic_of, write_panoptic
from perception.datasets.synthetic.shapes import Label
from perception.panoptic.files import read_segments
from perception.panoptic.point_labels import label_cloud, seen_points, sky_directions, spread, write_point_labels

CAMERA = np.array([[100.0, 0, 50, 0], [0, 100, 30, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # looks along +z of the points


def test_masks_and_point_labels_of_the_synthetic_world(tiny_synthetic: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for path in tiny_synthetic.iterdir():
        (root / path.name).symlink_to(path)
    made = write_panoptic(root, every=3, progress=False)
    assert made["images"] == {"train": 6, "val": 6}
    truth = json.loads((root / "panoptic_train.json").read_text())
    for annotation in truth["annotations"]:
        segment = read_segments(root / "panoptic_train" / annotation["file_name"])
        numbers = set(np.unique(segment).tolist()) - {0}
        assert {row["id"] for row in annotation["segments_info"]} == numbers
        assert sum(row["area"] for row in annotation["segments_info"]) == (segment > 0).sum() > 0.9 * segment.size
        assert min(row["area"] for row in annotation["segments_info"] if row["category_id"] <= 10) >= MIN_PIXELS

    out = root / "points.json"
    counts = write_point_labels(
        root / "nuscenes_infos_train.json", out, panoptic=root / "panoptic_train.json", progress=False
    )
    assert {"ground", "structure", "sky"} <= counts.keys() and sum(counts[c] for c in CLASSES if c in counts) >= 5
    truth_of = {row["image_id"]: row for row in truth["annotations"]}
    right = {"thing": [], "ground": [], "structure": [], "sky": []}
    for annotation in json.loads(out.read_text())["annotations"]:
        entry = truth_of[annotation["image_id"]]
        segment = read_segments(root / "panoptic_train" / entry["file_name"])
        category = {row["id"]: row["category_id"] for row in entry["segments_info"]}
        for target in annotation["targets"]:
            name = {11: "ground", 12: "structure", 13: "sky"}.get(target["category_id"], "thing")
            for x, y in target["points"]:
                right[name].append(category.get(int(segment[y, x])) == target["category_id"])
    # No human looked at them; nearly all are right all the same.
    assert {name: float(np.mean(values)) > 0.75 for name, values in right.items()} == dict.fromkeys(right, True)

    with pytest.raises(ValueError, match=r"images that .*nuscenes_infos_val\.json does not have"):
        write_point_labels(root / "nuscenes_infos_val.json", out, panoptic=root / "panoptic_train.json", progress=False)
    with pytest.raises(FileNotFoundError, match="no synthetic data set"):
        write_panoptic(tmp_path)


def test_actors_of_few_pixels_are_void() -> None:
    label = np.full((10, 10), int(Label.ROAD))
    label[:2] = int(Label.SKY)
    instance = np.full((10, 10), -1)
    instance[4:10, :5], instance[4, 9] = 0, 1
    segment, category_of = panoptic_of(instance, label, np.array([7, 0]))
    assert segment[0, 0] == 3 and segment[3, 3] == 1 and segment[5, 1] == 4 and segment[4, 9] == 0
    assert category_of[4] == 8 and category_of[1] == 11 and category_of[3] == 13


def test_cloud_is_told_apart() -> None:
    box = np.array([[10.0, 0, 1, 4, 2, 2, 0]], dtype=np.float32)  # from 0 to 2 m
    points = np.array(
        [[10, 0, 1], [10, 0, 0.02], [10, 1.2, 0.0], [20, 0, 0.05], [20, 0, 0.5], [20, 0, 1.5]], dtype=np.float32
    )
    cloud, target = label_cloud(points, box, np.eye(4))
    assert target[:6].tolist() == [0, -9, -9, -1, -9, -2]
    assert (target[6:] == -3).all() and len(cloud) == len(target)


def test_sky_is_where_nothing_returns() -> None:
    angles = np.linspace(-np.pi, np.pi, 2000, endpoint=False)
    wall = np.stack((20 * np.cos(angles), 20 * np.sin(angles), np.full(2000, 3.3)), axis=1)  # 0.16 rad up, all around
    wall = wall[np.abs(angles) > 0.5].astype(np.float32)  # but not ahead
    sky = sky_directions(wall)
    assert len(sky) > 20 and np.abs(np.arctan2(sky[:, 1], sky[:, 0])).max() < 0.5


def test_hidden_points_are_left_out() -> None:
    points = np.array([[0, 0, 10], [0.02, 0, 20], [3, 0, 20], [0, 0, -5], [100, 0, 10]], dtype=np.float32)
    found = seen_points(points, CAMERA, (100, 60))
    assert found.tolist() == [[0, 50, 30], [2, 65, 30]]


def test_spread_begins_in_the_middle() -> None:
    pixels = np.array([[x, 0] for x in range(11)] + [[5, 0]])
    assert spread(pixels, 3).tolist() == [5, 0, 10]
    assert len(spread(pixels, 100)) == 11  # the same pixel twice is no two points
