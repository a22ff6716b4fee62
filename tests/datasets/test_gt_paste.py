"""Pasting objects: whole, where they were, where nothing else is, and never against what a live camera shows."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from object_frames import write_frames
from shapely.geometry import Polygon

from perception.datasets.gt_cutting import create_gt_database
from perception.datasets.gt_database import GTDatabase
from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import BEVAugment, GTPaste, LoadSweeps, ModalityDropout, PackFrame
from perception.geometry import box_corners

from mmdet3d.datasets.transforms import LoadAnnotations3D  # isort: skip (after perception made mmdet3d importable)

SWEEPS = 2
SAMPLES = {"car": 4, "bus": 5, "pedestrian": 6, "bicycle": 3}
# Present in a frame: two cars and a pedestrian. In the database: also buses and bicycles.
CLASSES = ("pedestrian", "bicycle", "bus", "car")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("donors")
    infos = write_frames(root / "frames", 20, classes=("car", "bus", "pedestrian", "bicycle"), sweeps=SWEEPS, seed=1)
    create_gt_database(infos, root / "gt", sweeps=SWEEPS, progress=False)
    return root / "gt"


@pytest.fixture(scope="module")
def infos(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes") / "frames"
    return write_frames(root, 4, classes=("car", "car", "pedestrian"), sweeps=SWEEPS, seed=2)


@pytest.fixture(scope="module")
def dataset(infos):
    return NuScenesFusionDataset(str(infos), metainfo={"classes": CLASSES})


def loaded(dataset, index=0, sweeps=SWEEPS):
    return LoadAnnotations3D(with_bbox_3d=True, with_label_3d=True)(LoadSweeps(sweeps)(dataset[index]))


def gravity_boxes(results) -> np.ndarray:
    boxes = results["gt_bboxes_3d"]
    return torch.cat([boxes.gravity_center, boxes.tensor[:, 3:]], 1).numpy()


def row_set(points: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in points}


def inside(points: np.ndarray, box: np.ndarray, grow: float = 1.0) -> np.ndarray:
    """[P] bool, in float64, of a box grown by a factor."""
    offset, (cos, sin) = points[:, :3].astype(np.float64) - box[:3], (np.cos(box[6]), np.sin(box[6]))
    own = np.stack([cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0], offset[:, 2]], 1)
    return (np.abs(own) <= grow * box[3:6] / 2).all(axis=1)


def test_pasted_objects_are_whole_apart_and_labelled(dataset, folder):
    database = GTDatabase(folder)
    step = GTPaste(str(folder), SAMPLES)
    pasted_boxes = []
    for seed in range(12):
        torch.manual_seed(seed)
        before, results = loaded(dataset, seed % 4), step(loaded(dataset, seed % 4))
        old, boxes, labels = len(before["gt_labels_3d"]), gravity_boxes(results), results["gt_labels_3d"]
        np.testing.assert_array_equal(boxes[:old], gravity_boxes(before))
        np.testing.assert_array_equal(labels[:old], before["gt_labels_3d"])
        assert labels.dtype == np.int64 and len(labels) == len(boxes) > old

        polygons = [Polygon(corners[[0, 1, 5, 4], :2]) for corners in box_corners(boxes.astype(np.float64))]
        for i, j in itertools.combinations(range(len(boxes)), 2):
            assert j < old or polygons[i].intersection(polygons[j]).area < 1e-4

        expected = before["points"]
        for box, label in zip(boxes[old:], labels[old:], strict=True):
            name = CLASSES[label]
            # The centre's height goes through mmdet3d's bottom centre and back.
            distance = np.abs(np.nan_to_num(database.objects[name].boxes - box, nan=0.0)).max(axis=1)
            index = int(distance.argmin())
            assert distance[index] < 1e-5
            np.testing.assert_array_equal(np.isnan(database.objects[name].boxes[index]), np.isnan(box))
            expected = np.concatenate([expected[~inside(expected, box, 1 + 1e-6)], database.points_of(name, index)])
            pasted_boxes.append(box)
        np.testing.assert_array_equal(results["points"], expected)
        for name, target in SAMPLES.items():
            assert (labels == CLASSES.index(name)).sum() <= target
    assert np.isnan(np.array(pasted_boxes)[:, 7:]).any()


def test_scene_points_in_a_pasted_box_give_way(dataset, folder):
    """Of dense clouds, no point of the scene is left in a pasted box, and none is lost elsewhere."""
    rng = np.random.default_rng(0)
    results = loaded(dataset)
    xyz = rng.uniform(-1, 1, (200_000, 3)) * [40, 40, 1]
    results["points"] = scene = np.concatenate([xyz, np.full((len(xyz), 1), 300.0), np.zeros((len(xyz), 1))], 1).astype(
        np.float32
    )
    old = len(results["gt_labels_3d"])
    torch.manual_seed(0)
    results = GTPaste(str(folder), SAMPLES)(results)
    own = results["points"][:, 3] == 300.0  # no recorded intensity is above 255
    boxes = gravity_boxes(results)[old:]
    hit = np.any([inside(scene, box) for box in boxes], axis=0)
    assert hit.sum() > 100
    left = row_set(results["points"][own])
    margin = np.any([inside(scene, box, 1 + 1e-5) for box in boxes], axis=0)
    assert not left & row_set(scene[np.any([inside(scene, box, 1 - 1e-5) for box in boxes], axis=0)])
    assert left >= row_set(scene[~margin])


def test_a_sample_is_filled_up_to_the_target(dataset, folder):
    """Without a chance to collide, exactly what is missing is pasted; a class that has enough gets none."""
    results = loaded(dataset)
    results["gt_bboxes_3d"].tensor[:, :2] += 500.0  # the present ones out of the way
    counts = np.zeros(len(CLASSES), dtype=int)
    for seed in range(200):
        torch.manual_seed(seed)
        copy = {**results, "points": results["points"].copy(), "gt_bboxes_3d": results["gt_bboxes_3d"].clone()}
        labels = GTPaste(str(folder), {"car": 3, "pedestrian": 1, "bus": 1})(copy)["gt_labels_3d"]
        counts += np.bincount(labels, minlength=len(CLASSES)) - [1, 0, 0, 2]
    pedestrian, bicycle, bus, car = counts
    assert pedestrian == bicycle == 0
    assert car == 200  # drawn first, so nothing is in its way
    assert 150 < bus < 200  # a few fall on the car


def test_classes_are_those_of_the_data_set(infos, folder):
    dataset = NuScenesFusionDataset(str(infos), metainfo={"classes": ("bus", "car")})
    torch.manual_seed(0)
    results = GTPaste(str(folder), {"bus": 2})(loaded(dataset))
    added = results["gt_bboxes_3d"].tensor[results["gt_labels_3d"] == 0]
    assert 1 <= len(added) <= 2 and (added[:, 3] == 11.0).all()  # as long as a bus
    with pytest.raises(ValueError, match="samples names pedestrian, tram; the data set has bus, car"):
        GTPaste(str(folder), {"bus": 2, "pedestrian": 1, "tram": 1})(loaded(dataset))


def test_filters_choose_among_the_objects(dataset, folder):
    objects = GTDatabase(folder).objects

    def lengths(**options):
        step = GTPaste(str(folder), {"car": 50, "bus": 50}, **options)
        step.open()
        return [step._usable[name].tolist() for name in ("car", "bus")]

    car, bus = objects["car"], objects["bus"]
    assert lengths() == [list(range(20)), list(range(20))]
    assert lengths(min_points={"car": 60}) == [np.flatnonzero(car.num_points >= 60).tolist(), list(range(20))]
    assert lengths(min_key_points=30)[1] == np.flatnonzero(bus.num_key_points >= 30).tolist()
    seen = lengths(min_visibility=3)[0]
    assert seen == np.flatnonzero((car.visibility == 0) | (car.visibility >= 3)).tolist()
    assert (car.visibility[seen] == 0).any() and 0 < len(seen) < 20


def test_objects_carry_no_older_sweeps_than_the_sample(dataset, folder):
    step = GTPaste(str(folder), {"car": 6})
    ages = {}
    for sweeps in (0, 1, SWEEPS):
        torch.manual_seed(0)
        ages[sweeps] = step(loaded(dataset, sweeps=sweeps))["points"][:, 4]
        assert np.unique(ages[sweeps].round(3)).tolist() == pytest.approx(0.05 * np.arange(sweeps + 1))
    assert len(ages[0]) < len(ages[1]) < len(ages[SWEEPS])


def test_the_same_seed_pastes_the_same_and_another_does_not(dataset, folder):
    def pasted(seed):
        torch.manual_seed(seed)
        return GTPaste(str(folder), SAMPLES)(loaded(dataset))["points"]

    np.testing.assert_array_equal(pasted(5), pasted(5))
    assert not np.array_equal(pasted(5), pasted(6))


def with_cameras(results, live):
    count = len(live)
    results["camera_mask"] = np.array(live)
    results["camera_images"] = np.full((count, 2, 2, 3), 9, np.uint8)
    return results


@pytest.mark.parametrize("live", [[True, True], [False, True]])
def test_a_sample_with_a_live_camera_is_left_alone(dataset, folder, live):
    before, results = loaded(dataset), with_cameras(loaded(dataset), live)
    results = GTPaste(str(folder), SAMPLES)(results)
    np.testing.assert_array_equal(results["points"], before["points"])
    np.testing.assert_array_equal(results["gt_labels_3d"], before["gt_labels_3d"])
    assert len(results["gt_bboxes_3d"]) == len(before["gt_bboxes_3d"])


def test_after_modality_dropout_only_blind_samples_get_objects(dataset, folder):
    torch.manual_seed(0)
    steps = [ModalityDropout(no_cameras=0.4, no_lidar=0.2, one_camera=0.2), GTPaste(str(folder), SAMPLES)]
    before, seen = loaded(dataset), set()
    for _ in range(40):
        results = Compose(steps)(with_cameras(loaded(dataset), [True, True]))
        blind = not results["camera_mask"].any()
        assert (len(results["gt_labels_3d"]) > len(before["gt_labels_3d"])) == blind
        if not results["lidar_mask"]:
            assert len(results["points"]) == 0
        seen.add((blind, results["lidar_mask"]))
    assert seen == {(True, True), (False, True), (False, False)}


def test_switched_off_it_passes_samples_and_needs_no_database(dataset):
    before, results = loaded(dataset), GTPaste("nowhere", SAMPLES, enabled=False)(loaded(dataset))
    np.testing.assert_array_equal(results["points"], before["points"])


def test_a_missing_database_is_an_error_at_first_use_that_names_the_command(dataset):
    step = GTPaste("nowhere", SAMPLES)
    with pytest.raises(FileNotFoundError, match=r"create_data\.py gt-database --ann-file INFO_FILE --out nowhere"):
        step(loaded(dataset))


def test_a_step_out_of_place_says_where_it_belongs(dataset, folder):
    step = GTPaste(str(folder), SAMPLES)
    with pytest.raises(ValueError, match="before BEVAugment"):
        step(BEVAugment(rotation_rad=(0.1, 0.2))(loaded(dataset)))
    with pytest.raises(ValueError, match="no gt_bboxes_3d, gt_labels_3d; put it after"):
        step(LoadSweeps(0)(dataset[0]))
    foreign = loaded(dataset)
    del foreign["classes"]
    with pytest.raises(ValueError, match="does not say its classes"):
        step(foreign)
    with pytest.raises(ValueError, match="counts of objects"):
        GTPaste(str(folder), {})


def test_whole_pipeline_packs_pasted_objects(infos, folder):
    boxes = LoadAnnotations3D(with_bbox_3d=True, with_label_3d=True)
    augment = BEVAugment(rotation_rad=(-1, 1), flip_x=0.5)
    pipeline = [LoadSweeps(SWEEPS), boxes, GTPaste(str(folder), SAMPLES), augment, PackFrame()]
    packed = NuScenesFusionDataset(str(infos), pipeline)[1]
    truth = packed["data_samples"].gt_instances_3d
    assert len(truth.bboxes_3d) == len(truth.labels_3d) == len(truth.velocity_known) > 3
    assert packed["inputs"]["points"].dtype == torch.float32


def test_a_pickled_step_does_not_take_the_database_along(dataset, folder):
    """As it travels to a worker that is spawned."""
    step = GTPaste(str(folder), SAMPLES)
    step.open()
    sent = pickle.dumps(step)
    assert len(sent) < 2000
    torch.manual_seed(0)
    expected = step(loaded(dataset))["points"]
    torch.manual_seed(0)
    np.testing.assert_array_equal(pickle.loads(sent)(loaded(dataset))["points"], expected)
