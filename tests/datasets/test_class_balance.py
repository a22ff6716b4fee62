"""mmdet3d's CBGSDataset around our data set: every class in the same share, as the CBGS paper says."""

import json

import numpy as np
import pytest
from object_frames import write_frames

from perception.datasets.info_files import read_info_file
from perception.datasets.nuscenes import NuScenesFusionDataset

from mmdet3d.datasets.dataset_wrappers import CBGSDataset  # isort: skip (after perception made mmdet3d importable)

CLASSES = ("car", "pedestrian", "bus")


@pytest.fixture(scope="module")
def infos(tmp_path_factory):
    """62 samples with cars, of which 13 have pedestrians and 4 a bus too."""
    path = write_frames(tmp_path_factory.mktemp("frames") / "root", 62, classes=CLASSES, background=1, sweeps=0)
    metainfo, samples = read_info_file(path)
    for i, sample in enumerate(samples):
        car, pedestrian, bus = sample["instances"]
        sample["instances"] = [car] + [pedestrian] * (i % 5 == 0) + [bus] * (i % 20 == 0)
    path.write_text(json.dumps({"metainfo": metainfo, "data_list": samples}))
    return path


def test_the_data_set_says_which_classes_a_sample_has(infos):
    dataset = NuScenesFusionDataset(str(infos), metainfo={"classes": CLASSES})
    assert [dataset.get_cat_ids(i) for i in (0, 1, 5, 20)] == [{0, 1, 2}, {0}, {0, 1}, {0, 1, 2}]


def test_each_class_gives_its_share_of_an_epoch(infos):
    """62 + 13 + 4 = 79 classes of samples: for each of the three, 79 / 3 samples are drawn of those that have it."""
    np.random.seed(0)  # noqa: NPY002  (CBGSDataset draws from it)
    balanced = CBGSDataset(NuScenesFusionDataset(str(infos), metainfo={"classes": CLASSES}))
    assert len(balanced) == 3 * 26
    drawn = np.array(balanced.sample_indices)
    assert (drawn[26:52] % 5 == 0).all() and (drawn[52:] % 20 == 0).all()
    # 4 of 62 samples have a bus, and 4 of the 13 with pedestrians: where one in 15 had one, now almost every other has.
    expected = (4 / 62 + 4 / 13 + 1) / 3
    assert abs((drawn % 20 == 0).mean() - expected) < 0.1
    assert balanced[60]["token"] == f"sample_{drawn[60]}"
    assert 2 in balanced.get_cat_ids(60) and balanced.metainfo["classes"] == CLASSES
