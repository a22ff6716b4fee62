"""Augmentation keeps points, boxes and pixels together: what a matrix says is where the colour is."""

import math

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from small_dataroot import LANDMARKS

from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import (
    BEVAugment,
    DropSensors,
    ImageAugment,
    LoadCameras,
    LoadSweeps,
    ModalityDropout,
    PackFrame,
    RangeFilter,
    ShufflePoints,
)
from perception.geometry import box_corners, in_image, project, transform_points

WILD_IMAGES = {
    "scale": (0.8, 1.5),
    "crop_x": (0.0, 1.0),
    "crop_y": (0.0, 1.0),
    "flip": 0.5,
    "rotate_rad": (-0.3, 0.3),
}
WILD_BEV = {
    "rotation_rad": (-math.pi, math.pi),
    "scale": (0.8, 1.2),
    "translation_std_m": (1.0, 1.0, 0.3),
    "flip_x": 0.5,
    "flip_y": 0.5,
}


@pytest.fixture(scope="module")
def dataset(small_infos):
    return NuScenesFusionDataset(str(small_infos), min_lidar_points=0)


@pytest.fixture
def loaded(dataset):
    """Key frame 0 with annotations as the pipeline has them between loading and packing."""
    results = dataset[0]
    results["gt_bboxes_3d"], results["gt_labels_3d"] = (
        results["ann_info"][k] for k in ("gt_bboxes_3d", "gt_labels_3d")
    )
    return LoadCameras()(LoadSweeps(sweeps=0)(results))


def colour_centroid(image: np.ndarray, colour: int) -> np.ndarray:
    """Centre (u, v) of the pixels of a [3,H,W] image where one channel stands out, weighted by how much."""
    others = np.delete(image.astype(float), colour, axis=0).max(axis=0)
    weight = np.clip(image[colour] - others - 60, 0, None)
    v, u = np.mgrid[: image.shape[1], : image.shape[2]]
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("min_hw", [None, (60, 100)])
def test_augmented_points_project_onto_the_augmented_pixels(dataset, min_hw):
    """The landmarks are painted red, green, blue in each image; their points go through the whole pipeline."""
    pipeline = Compose(
        [
            LoadSweeps(sweeps=0),
            LoadCameras(min_hw=min_hw),
            ImageAugment(size_hw=(96, 160), **WILD_IMAGES),
            BEVAugment(**WILD_BEV),
            PackFrame(),
        ]
    )
    torch.manual_seed(0)
    errors = []
    for _ in range(12):
        inputs = pipeline(dataset[0])["inputs"]
        points = inputs["points"][: len(LANDMARKS), :3]
        assert inputs["images"].shape == (2, 3, 96, 160) and inputs["images"].dtype == torch.uint8
        for camera in range(2):
            pixels, depth = project(inputs["image_from_lidar"][camera], points)
            # A disc that the border cuts has another centre.
            whole = in_image(pixels - 6, depth, (96, 160)) & in_image(pixels + 6, depth, (96, 160))
            for i in torch.nonzero(whole).flatten().tolist():
                seen = colour_centroid(inputs["images"][camera].numpy(), i % 3)
                errors.append(np.abs(seen - pixels[i].numpy()).max())
    assert len(errors) > 30
    # Half a pixel forgotten in decoding at a quarter of the size moves every disc by more than this.
    assert max(errors) < 0.25 and np.mean(errors) < 0.08


def test_without_intervals_the_images_are_fitted_the_same_way_each_time(loaded):
    matrices = loaded["image_aug"].copy()
    results = ImageAugment(size_hw=(80, 200))(loaded)
    # 400 px wide -> 200, 240 px high -> 120, of which the lower 80 stay; pixel 0's centre moves by half of a half.
    expected = np.eye(4)
    expected[0, 0] = expected[1, 1] = 0.5
    expected[0, 2], expected[1, 2] = -0.25, -0.25 - 40
    np.testing.assert_allclose(results["image_aug"], expected @ matrices, atol=1e-9)


def test_colours_change_but_not_geometry(loaded):
    torch.manual_seed(3)
    image = loaded["camera_images"][1].copy()
    results = ImageAugment(size_hw=(240, 400), brightness=0.4, contrast=0.4, saturation=0.4)(loaded)
    np.testing.assert_allclose(results["image_aug"][1], np.eye(4), atol=1e-9)
    changed = results["camera_images"][1]
    assert np.abs(changed.astype(int) - image).mean() > 5
    for colour in range(3):
        before, after = (colour_centroid(x.transpose(2, 0, 1), colour) for x in (image, changed))
        np.testing.assert_allclose(before, after, atol=0.5)


def test_boxes_move_like_their_corners_and_velocities_like_arrows(loaded):
    torch.manual_seed(1)
    for _ in range(10):
        boxes = loaded["gt_bboxes_3d"].clone()
        before = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], 1)
        results = BEVAugment(**WILD_BEV)({"gt_bboxes_3d": boxes})
        after = torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], 1)
        lidar_aug = torch.from_numpy(results["lidar_aug"]).float()
        moved = transform_points(lidar_aug, box_corners(before))
        # A mirrored box has its left and right corners exchanged: compare as sets.
        distance = torch.cdist(moved, box_corners(after)).amin(dim=2)
        assert distance.max() < 1e-3
        heading = torch.stack([before[:, 6].cos(), before[:, 6].sin(), torch.zeros(len(before))], 1)
        turned = heading @ lidar_aug[:3, :3].T
        cosine = turned[:, 0] * after[:, 6].cos() + turned[:, 1] * after[:, 6].sin()
        torch.testing.assert_close(cosine, turned.norm(dim=1), rtol=1e-4, atol=1e-4)
        assert (after[:, 6] >= -math.pi).all() and (after[:, 6] < math.pi).all()
        torch.testing.assert_close(after[0, 7:], (lidar_aug[:2, :2] @ before[0, 7:]), rtol=1e-4, atol=1e-4)
        assert torch.isnan(after[1, 7:]).all()


def test_range_filter_keeps_lower_edges_and_boxes_by_their_centres(loaded):
    centre = loaded["gt_bboxes_3d"].gravity_center[0].tolist()
    near = [centre[0], centre[1] - 1, -100, centre[0] + 1, centre[1] + 1, 100]  # the car's centre is on the lower edge
    loaded["points"] = np.array([[near[0], centre[1], 0, 1, 0], [near[3], centre[1], 0, 2, 0]], np.float32)
    results = RangeFilter(np.nextafter(np.float32(near), np.float32(-1e9)))(loaded)
    assert results["points"][:, 3].tolist() == [1]
    assert results["gt_labels_3d"].tolist() == [0] and len(results["gt_bboxes_3d"]) == 1
    emptied = RangeFilter([500, 500, 0, 501, 501, 1])(results)
    assert len(emptied["points"]) == len(emptied["gt_labels_3d"]) == len(emptied["gt_bboxes_3d"]) == 0
    with pytest.raises(ValueError, match="six numbers"):
        RangeFilter([0, 1, 2])


def test_shuffle_keeps_the_points():
    points = np.arange(500, dtype=np.float32).reshape(100, 5)
    shuffled = ShufflePoints()({"points": points.copy()})["points"]
    assert not np.array_equal(shuffled, points)
    np.testing.assert_array_equal(np.sort(shuffled[:, 0]), points[:, 0])


def test_dropout_hits_as_often_as_it_says_and_never_two_at_once():
    torch.manual_seed(0)
    dropout = ModalityDropout(no_cameras=0.2, no_lidar=0.3, one_camera=0.1)
    seen = {"cameras": 0, "lidar": 0, "one": 0}
    for _ in range(1000):
        results = dropout(
            {
                "points": np.ones((4, 5), np.float32),
                "lidar_mask": True,
                "camera_mask": np.ones(3, dtype=bool),
                "camera_images": np.full((3, 2, 2, 3), 9, np.uint8),
            }
        )
        off = int((~results["camera_mask"]).sum())
        assert off == 0 or results["lidar_mask"]
        assert len(results["points"]) == 4 * results["lidar_mask"]
        np.testing.assert_array_equal(results["camera_images"].any(axis=(1, 2, 3)), results["camera_mask"])
        seen["lidar"] += not results["lidar_mask"]
        seen["cameras"] += off == 3
        seen["one"] += off == 1
    assert abs(seen["cameras"] - 200) < 50 and abs(seen["lidar"] - 300) < 50 and abs(seen["one"] - 100) < 40
    with pytest.raises(ValueError, match="probabilities"):
        ModalityDropout(no_cameras=0.6, no_lidar=0.6)


def test_sensors_switched_off_reach_the_network_as_masks(dataset):
    def inputs(**off):
        steps = [LoadSweeps(sweeps=0), LoadCameras(), ImageAugment(size_hw=(24, 40)), DropSensors(**off), PackFrame()]
        return Compose(steps)(dataset[0])["inputs"]

    both = inputs()
    assert both["lidar_mask"] and both["camera_mask"].all() and both["images"].any()
    no_lidar = inputs(lidar=True)
    assert not no_lidar["lidar_mask"] and no_lidar["points"].shape == (0, 5) and no_lidar["camera_mask"].all()
    no_back = inputs(cameras=["CAM_BACK"])
    assert no_back["camera_mask"].tolist() == [False, True] and not no_back["images"][0].any()
    blind = inputs(cameras="all")
    assert not blind["camera_mask"].any() and not blind["images"].any() and blind["lidar_mask"]
    with pytest.raises(ValueError, match="no camera CAM_UP; the frame has CAM_BACK, CAM_FRONT"):
        inputs(cameras=["CAM_UP"])


def test_packed_frame_holds_tensors_truth_and_poses(loaded):
    packed = PackFrame()(ImageAugment(size_hw=(24, 40))(loaded))
    assert {key: (value.dtype, tuple(value.shape)) for key, value in packed["inputs"].items()} == {
        "points": (torch.float32, (len(LANDMARKS) + 1, 5)),
        "lidar_mask": (torch.bool, ()),
        "images": (torch.uint8, (2, 3, 24, 40)),
        "image_from_lidar": (torch.float32, (2, 4, 4)),
        "camera_mask": (torch.bool, (2,)),
    }
    sample = packed["data_samples"]
    assert sample.gt_instances_3d.velocity_known.tolist() == [True, False]
    assert sample.gt_instances_3d.labels_3d.tolist() == [0, 8]
    np.testing.assert_allclose(sample.lidar2global, sample.ego2global @ sample.lidar2ego)
    assert (sample.token, sample.cameras) == ("sample_0", ["CAM_BACK", "CAM_FRONT"])


def test_packing_raw_images_names_the_remedy(loaded):
    with pytest.raises(ValueError, match="ImageAugment"):
        PackFrame()(loaded)
