"""KITTI's format: the geometry against plain formulas from its readme, then the road to a training step."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from perception.datasets.frames import read_frames
from perception.datasets.kitti import convert_kitti
from perception.datasets.own_frames import OwnFramesDataset, create_folder_infos
from perception.engine.run import load_config
from perception.engine.step import measure_step

CONFIG = Path(__file__).resolve().parents[2] / "configs/kitti_fusion.py"
SIZE_WH = (1242, 375)
# Frame 000000-like numbers: a focal length of 700 px, a camera 6 cm beside the reference, axes slightly off.
P2 = np.array([[707.05, 0, 604.08, 45.75], [0, 707.05, 180.5, -0.34], [0, 0, 1, 0.005]])
SMALL = 0.01
R0 = np.array([[math.cos(SMALL), math.sin(SMALL), 0], [-math.sin(SMALL), math.cos(SMALL), 0], [0, 0, 1]])
TR = np.array([[0.0, -1, 0, -0.02], [0, 0, -1, -0.06], [1, 0, 0, -0.33]])
# type truncation occlusion alpha, 2D box, height width length, x y z of the bottom's centre, rotation about y
LABELS = """Car 0.00 0 -1.57 599.41 156.40 629.75 189.25 1.57 1.73 4.15 1.00 1.75 13.22 0.62
Pedestrian 0.00 0 0.21 423.17 173.67 433.17 224.03 1.60 0.38 0.30 -5.87 1.63 23.11 -0.03
DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10
"""
FRAMES = 4


def write_kitti(root: Path) -> Path:
    training = root / "training"
    for part in ("velodyne", "image_2", "calib", "label_2"):
        (training / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    matrices = {"P0": P2, "P2": P2, "R0_rect": R0, "Tr_velo_to_cam": TR, "Tr_imu_to_velo": TR}
    calibration = "".join(f"{k}: {' '.join(f'{v:.12e}' for v in m.ravel())}\n" for k, m in matrices.items())
    for index in range(FRAMES):
        stem = f"{index:06d}"
        points = rng.uniform((0, -20, -1.7, 0), (40, 20, 1, 1), (600, 4)).astype(np.float32)
        points[:80, :3] = rng.uniform((13.1, -1.5, -1.4), (14.1, -0.5, -0.4), (80, 3))  # on the car
        points.tofile(training / "velodyne" / f"{stem}.bin")
        cv2.imwrite(str(training / "image_2" / f"{stem}.png"), np.full((SIZE_WH[1], SIZE_WH[0], 3), 90, np.uint8))
        (training / "calib" / f"{stem}.txt").write_text(calibration)
        (training / "label_2" / f"{stem}.txt").write_text(LABELS)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    convert_kitti(write_kitti(root / "kitti"), root / "frames", progress=False)
    return root / "frames"


def test_points_meet_the_image_where_kitti_says(folder: Path) -> None:
    """x = P2 R0_rect Tr_velo_to_cam X for KITTI's point X, written out here; ours from what was converted."""
    frame = read_frames(folder)[0]
    ours = np.fromfile(frame["lidar_path"], np.float32).reshape(-1, 4)
    theirs = np.fromfile(folder.parent / "kitti/training/velodyne/000000.bin", np.float32).reshape(-1, 4)
    camera = frame["images"]["image_2"]
    for mine, point in zip(ours[:50].astype(float), theirs[:50].astype(float), strict=True):
        x, y, z = (sum(TR[row, k] * point[k] for k in range(3)) + TR[row, 3] for row in range(3))
        x, y = math.cos(SMALL) * x + math.sin(SMALL) * y, -math.sin(SMALL) * x + math.cos(SMALL) * y
        u, v, w = (P2[row, 0] * x + P2[row, 1] * y + P2[row, 2] * z + P2[row, 3] for row in range(3))
        in_camera = camera["lidar2cam"] @ [*mine[:3], 1]
        pixel = camera["cam2img"] @ in_camera[:3]
        np.testing.assert_allclose(pixel, (u, v, w), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(ours[:, 3], theirs[:, 3] * 255, rtol=1e-6)
    assert (camera["width"], camera["height"]) == SIZE_WH


def test_boxes_have_the_corners_that_kitti_draws(folder: Path) -> None:
    """Corners by KITTI's development kit: in the camera frame, about y; then the other way to the same pixels."""
    frame = read_frames(folder)[0]
    boxes = json.loads((folder / "boxes" / "000000.json").read_text())["boxes"]
    assert [box["class"] for box in boxes] == ["Car", "Pedestrian"]
    camera = frame["images"]["image_2"]
    for line, box in zip(LABELS.splitlines(), boxes, strict=False):
        h, w, length, x, y, z, turn = map(float, line.split()[8:15])
        theirs = set()
        for dx in (length / 2, -length / 2):
            for dz in (w / 2, -w / 2):
                for dy in (0, -h):
                    cx = math.cos(turn) * dx + math.sin(turn) * dz + x
                    cz = -math.sin(turn) * dx + math.cos(turn) * dz + z
                    u, v, depth = P2 @ [cx, dy + y, cz, 1]
                    theirs.add((round(u / depth), round(v / depth)))
        ours = set()
        (bx, by, bz), (bl, bw, bh), yaw = box["centre_m"], box["size_m"], box["yaw_rad"]
        for dx in (bl / 2, -bl / 2):
            for dy in (bw / 2, -bw / 2):
                for dz in (bh / 2, -bh / 2):
                    point = [
                        bx + math.cos(yaw) * dx - math.sin(yaw) * dy, by + math.sin(yaw) * dx + math.cos(yaw) * dy,
                        bz + dz, 1,
                    ]  # fmt: skip
                    u, v, depth = camera["cam2img"] @ (camera["lidar2cam"] @ point)[:3]
                    ours.add((round(u / depth), round(v / depth)))
        # The boxes stand upright in the scanner's frame and in the camera's, which lean against each other by 0.01 rad.
        for (u, v), (a, b) in zip(sorted(ours), sorted(theirs), strict=True):
            assert math.hypot(u - a, v - b) < 8


def test_a_training_step_with_kittis_classes_range_and_one_camera(folder: Path) -> None:
    made = create_folder_infos(folder)
    assert made["samples"] == {"train": 3, "val": 1} and made["classes"] == {"Car": 4, "Pedestrian": 4}
    dataset = OwnFramesDataset(made["train"], classes=("Pedestrian", "Car"), min_lidar_points=0)
    info = dataset[0]
    assert info["ann_info"]["gt_labels_3d"].tolist() == [1, 0] and list(info["images"]) == ["image_2"]
    with pytest.raises(ValueError, match="has no class 'Pedestrians'; did you mean Pedestrian"):
        OwnFramesDataset(made["train"], classes=("Pedestrians",))
    measured = measure_step(coarse_config(folder), steps=1, batch_size=1)
    assert measured["inputs"]["images"] == ["1x3x192x640"] and measured["train_step_s"] > 0


GRIDS = ("network.lidar.voxel_encoder.grid", "network.camera.lift.grid", "network.head.grid", "loss.grid")


def coarse_config(folder: Path) -> Config:
    config = load_config(
        CONFIG,
        {
            **{f"model.{path}.cell_m": (3.2, 3.2, 4.0) for path in GRIDS},
            "model.network.lidar.backbone.grid": (1, 24, 26),
            "train_dataloader.dataset.ann_file": str(folder / "infos_train.json"),
            "test_dataloader.dataset.ann_file": str(folder / "infos_val.json"),
        },
    )
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.dataset.classes = ("Car", "Pedestrian")  # these frames have no cyclist
    return config
