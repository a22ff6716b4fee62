"""Pictures of a frame: things are where they should be, and odd input is drawn or refused, never a crash."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.visualization.bev_picture import bev_picture, height_colours
from perception.visualization.camera_picture import camera_mosaic
from perception.visualization.frame_picture import frame_picture, write_png
from perception.visualization.style import CLASS_COLOURS, class_colour, draw_segments

NAMES = list(CLASS_COLOURS)
NONE = np.zeros((0, 9)), np.zeros(0, int)
# Looks along +y of the LiDAR frame.
IMAGE_FROM_LIDAR = np.array([[500.0, 320, 0, 0], [0, 180, -500, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def one(x: float, y: float, label: int = 0, **changes: float) -> tuple[np.ndarray, np.ndarray]:
    values = {"z": -1.0, "length": 4.0, "width": 2.0, "height": 1.6, "yaw": 0.0, "vx": 0.0, "vy": 0.0} | changes
    return np.array([[x, y, *values.values()]]), np.array([label])


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels [P,2] (x, y) of a colour, more or less."""
    return np.argwhere((np.abs(picture.astype(int) - colour) < 40).all(-1))[:, ::-1]


@pytest.mark.parametrize("forward_rad", [math.pi / 2, 0.0, math.pi, -2.5])
def test_ahead_is_up_and_left_is_left(forward_rad: float) -> None:
    for angle_rad, expected in ((0.0, (200, 200 - 20 * 4)), (math.pi / 2, (200 - 20 * 4, 200))):
        place = 20 * np.cos(forward_rad + angle_rad), 20 * np.sin(forward_rad + angle_rad)
        picture = bev_picture(np.zeros((0, 3)), NAMES, NONE, one(*place), 50.0, 400, forward_rad, 20.0)
        assert where(picture, CLASS_COLOURS["car"]).mean(0) == pytest.approx(expected, abs=2)


def test_right_is_right_and_sizes_are_to_scale() -> None:
    picture = bev_picture(
        np.zeros((0, 3)), NAMES, NONE, one(30.0, 0.0, length=10.0, width=4.0), 50.0, 400, math.pi / 2, 20.0
    )
    seen = where(picture, CLASS_COLOURS["car"])
    assert seen.mean(0) == pytest.approx((200 + 30 * 4, 200), abs=3)
    assert np.ptp(seen, axis=0) == pytest.approx((40, 16), abs=3)


def test_points_are_where_they_are_and_the_highest_wins() -> None:
    points = np.array([[10.0, 20.0, 2.5], [10.0, 20.0, -2.5], [500.0, 0, 0]])
    picture = bev_picture(points, NAMES, NONE, NONE, 50.0, 400, math.pi / 2, 100.0)
    assert height_colours(np.array([9.0])).tolist() == height_colours(np.array([2.5])).tolist()
    seen = where(picture, tuple(height_colours(np.array([2.5]))[0]))
    assert (np.hypot(*(seen - [240, 120]).T) < 3).any()


def test_velocity_arrow_points_forward() -> None:
    still = bev_picture(np.zeros((0, 3)), NAMES, NONE, one(0.0, 0.0), 50.0, 400, math.pi / 2, 20.0)
    moving = bev_picture(np.zeros((0, 3)), NAMES, NONE, one(0.0, 0.0, vy=20.0), 50.0, 400, math.pi / 2, 20.0)
    changed = np.argwhere((still != moving).any(-1))[:, ::-1]
    assert changed[:, 1].min() == pytest.approx(200 - 20 * 4, abs=4)
    assert changed[:, 1].max() < 202


@pytest.mark.parametrize("shrink", [1, 10])
def test_boxes_stand_on_their_objects_in_every_camera_place(shrink: int) -> None:
    """Whatever the size of the image, the box is at the same place of the tile (640 pixels wide)."""
    shrunk = np.diag([1 / shrink, 1 / shrink, 1.0, 1.0])
    shrunk[:2, 2] = (1 / shrink - 1) / 2  # the centre of pixel (0, 0) stands for the centres of shrink x shrink pixels
    ahead = shrunk @ IMAGE_FROM_LIDAR
    behind = ahead @ np.diag([-1.0, -1, 1, 1])
    images = [np.zeros((360 // shrink, 640 // shrink, 3), np.uint8)] * 2
    names = ["CAM_BACK", "CAM_FRONT_LEFT"]  # the second one comes first
    picture = camera_mosaic(
        images, np.array([behind, ahead]), names, NAMES, NONE, one(2.0, 20.0, yaw=math.pi / 2), 1928
    )
    seen = where(picture, CLASS_COLOURS["car"])
    assert seen[:, 0].max() < 640
    # It spans x 1..3, z -1.8..-0.2 and depths 18..22: its far face reaches furthest to the upper left.
    low, high = (500 * 1 / 22 + 320, 500 * 0.2 / 22 + 180), (500 * 3 / 18 + 320, 500 * 1.8 / 18 + 180)
    assert seen.min(0) == pytest.approx(low, abs=2)
    assert seen.max(0) == pytest.approx(high, abs=2)


def test_dashed_lines_are_shorter_than_solid_ones_and_end_alike() -> None:
    drawn = []
    for dash_px in (0.0, 6.0):
        canvas = np.zeros((20, 200, 3), np.uint8)
        draw_segments(canvas, np.array([[[10.0, 10], [190, 10]]]), (255, 255, 255), 1, dash_px, edge=False)
        drawn.append(np.flatnonzero(canvas[10, :, 0] > 128))
    solid, dashed = drawn
    assert len(dashed) < 0.7 * len(solid)
    assert (dashed[0], dashed[-1]) == (solid[0], solid[-1])


def test_lines_to_far_away_do_not_overflow() -> None:
    canvas = np.zeros((100, 100, 3), np.uint8)
    draw_segments(canvas, np.array([[[50.0, 50], [1e12, 50]], [[-1e9, -1e9], [-1e8, 1e9]]]), (255, 255, 255), 1)
    assert (canvas[50, 55:, 0] > 200).all()
    assert not (canvas[:45] > 200).any()


def test_weak_detections_are_left_out() -> None:
    boxes = np.concatenate([one(10.0, 10.0)[0], one(-10.0, 10.0)[0]])
    common = {"images": [], "image_from_lidar": np.zeros((0, 4, 4)), "points": np.zeros((0, 5)), "class_names": NAMES}
    both = {"pred_boxes": boxes, "pred_labels": np.array([0, 5])}
    picture = frame_picture(**common, **both, pred_scores=np.array([0.9, 0.1]))
    assert len(where(picture, CLASS_COLOURS["car"]))
    assert not len(where(picture, CLASS_COLOURS["pedestrian"]))
    all_of_them = frame_picture(**common, **both, pred_scores=np.array([0.9, 0.1]), score_threshold=0.05)
    assert len(where(all_of_them, CLASS_COLOURS["pedestrian"]))


def test_odd_frames_are_drawn() -> None:
    boxes = np.tile(one(5.0, 5.0)[0], (3, 1))
    boxes[0, 0], boxes[1, 7] = np.nan, np.nan
    points = np.array([[1.0, 1, 1, 0, 0], [np.nan, 0, 0, 0, 0]])
    for count in (0, 1, 5, 7):
        images = [None if i == 2 else np.full((90, 160, 3), 90, np.uint8) for i in range(count)]
        matrices = np.tile(IMAGE_FROM_LIDAR, (count, 1, 1))
        picture = frame_picture(
            images, matrices, points, NAMES, gt_boxes=boxes, gt_labels=np.zeros(3, int), title="frame"
        )
        rows = -(-count // 3)
        assert picture.shape[1:] == (1920, 3)
        assert picture.shape[0] > 1000 + rows * 300
    frame_picture([], np.zeros((0, 4, 4)), np.zeros((0, 5)), NAMES)


def test_disagreeing_numbers_are_refused() -> None:
    boxes, labels = one(1.0, 1.0)
    nothing = [], np.zeros((0, 4, 4)), np.zeros((0, 5)), NAMES
    with pytest.raises(ValueError, match="ground truth: 1 boxes, 0 labels"):
        frame_picture(*nothing, gt_boxes=boxes)
    with pytest.raises(ValueError, match="detections: 1 boxes, 1 labels, 2 scores"):
        frame_picture(*nothing, pred_boxes=boxes, pred_labels=labels, pred_scores=np.ones(2))
    with pytest.raises(ValueError, match="0 images but 1 matrices"):
        frame_picture([], IMAGE_FROM_LIDAR[None], *nothing[2:])


def test_every_class_has_its_own_colour() -> None:
    assert len(set(CLASS_COLOURS.values())) == 10
    assert class_colour("tram") == class_colour("tram") not in CLASS_COLOURS.values()


def test_png_round_trip(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    path = write_png(tmp_path / "a" / "b.png", picture)
    np.testing.assert_array_equal(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), picture)
    assert [p.name for p in path.parent.iterdir()] == ["b.png"]
