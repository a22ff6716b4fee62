"""Panoptic data: points, views, and what is wrong with a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up_panoptic import HEIGHT, WIDTH, change

from perception.panoptic.dataset import PanopticDataset, View
from perception.panoptic.files import read_segments, write_segments


def dataset(ann_file: Path, **options: Any) -> PanopticDataset:
    return PanopticDataset(
        **{"ann_file": str(ann_file), "data_root": str(ann_file.parent), "size_hw": (32, 64), **options}
    )


def target(content: Any, number: int) -> Any:
    """A target of the first image."""
    return content["annotations"][0]["targets"][number]


@pytest.mark.parametrize("points", [1, 5, 10])
def test_random_points_lie_on_their_target_and_stay(truth_file: Path, points: int) -> None:
    data = dataset(truth_file, points=points)
    for index, targets in enumerate((3, 4, 2)):
        sample = data[index]["data_samples"]
        assert len(sample.labels) == targets
        assert sample.points[:, 3].max() + 1 == targets
        # At most: two of a target may fall into one cell of the map.
        assert torch.bincount(sample.points[:, 3]).max() <= points
        assert torch.equal(sample.labels[sample.points[:, 3]], sample.points[:, 2])
        assert torch.equal(sample.points, data[index]["data_samples"].points)
        off = sample.index[sample.points[:, 0], sample.points[:, 1]] != sample.points[:, 3]
        # A cell of four pixels may be another's by its middle; of many points few are.
        assert points == 1 or off.float().mean() < 0.35
    assert not torch.equal(
        dataset(truth_file, seed=1)[1]["data_samples"].points, dataset(truth_file)[1]["data_samples"].points
    )


def test_points_are_drawn_from_what_is_cut_out(truth_file: Path) -> None:
    """Of the sky's 36 rows the network sees the lower 16, of the ground's as many."""
    for seed in range(8):
        points = dataset(truth_file, size_hw=(16, 64), crop_y=0.5, seed=seed)[2]["data_samples"].points
        assert points[:, 2].tolist() == [10, 12]


@pytest.mark.parametrize("keep", [False, True])
def test_kept_samples_are_read_once(truth_file: Path, keep: bool) -> None:
    data = dataset(truth_file, keep=keep, flip=True)
    first = [data[0]["inputs"] for _ in range(12)]  # both ways round
    for path in truth_file.parent.glob("*.png"):
        path.unlink()
    if not keep:
        with pytest.raises(FileNotFoundError):
            data[0]
        return
    assert {id(data[0]["inputs"]) for _ in range(12)} <= {id(image) for image in first}
    assert len(data._kept) == 2 and torch.equal(data._kept[0, True]["inputs"].flip(-1), data._kept[0, False]["inputs"])


def test_view_moves_points_as_it_moves_pixels() -> None:
    rng = np.random.default_rng(0)
    segment = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    xy = np.stack((rng.integers(0, WIDTH, 60), rng.integers(0, HEIGHT, 60)), axis=1)
    segment[xy[:, 1], xy[:, 0]] = np.arange(1, 61)
    for flip in (False, True):
        view = View((HEIGHT, WIDTH), (48, WIDTH), top=20, flip=flip)  # at the recorded scale: pixel by pixel
        moved = view.of_points(xy)
        inside = ((moved >= 0) & (moved < (WIDTH, 48))).all(axis=1)
        assert 20 < inside.sum() < 60
        found = view.of_segments(segment)[moved[inside, 1], moved[inside, 0]]
        assert np.array_equal(found, segment[xy[inside, 1], xy[inside, 0]])
        picture = view.of_image(np.repeat(segment[..., None], 3, axis=2).astype(np.uint8))
        assert np.array_equal(picture[..., 0], view.of_segments(segment))


def test_labelled_points_and_images_without_any(truth_file: Path, points_file: Path) -> None:
    data = dataset(truth_file, points=str(points_file))
    assert len(data) == 2 and data.skipped == 1
    sample = data[0]["data_samples"]
    assert sample.points[:, 2].tolist() == [0, 0, 10] and sample.points[:, 3].tolist() == [0, 0, 1]
    # The truth's targets are numbered as the points'; sky, which has none, comes after.
    assert sample.labels.tolist() == [0, 10, 12]
    assert sample.index[5, 4] == 0 and sample.index[7, 14] == 1 and sample.index[0, 0] == 2
    assert len(dataset(truth_file, points=str(points_file), test_mode=True)) == 3


def test_a_point_in_the_cell_of_another_object_is_skipped_and_counted(truth_file: Path, points_file: Path) -> None:
    def edit(content: Any) -> None:
        content["annotations"][0]["targets"][1]["points"] = [[31, 41], [100, 60]]  # ground's, on the car's own point

    data = dataset(truth_file, points=str(change(points_file, points_file.with_name("p.json"), edit)))
    assert data[0]["data_samples"].points[:, 3].tolist() == [0, 0, 1]
    assert data.conflicts == 1


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("points", lambda c: target(c, 0)["points"].append([128, 3]), "target 0: a point lies outside its 128"),
        ("points", lambda c: target(c, 1).update(category_id=99), "image 1, target 1 has category 99"),
        ("points", lambda c: c["annotations"].pop(0), "does not have image 1.png"),
        ("points", lambda c: c["annotations"][0].update(image_id=8), "image 8 is not among its images"),
        ("points", lambda c: [a.update(targets=[]) for a in c["annotations"]], "no image has a point in view"),
        ("truth", lambda c: c["annotations"][1]["segments_info"][0].update(category_id=77), "of 2.png has category 77"),
        ("truth", lambda c: c["annotations"].pop(), "image 3.png has no annotation"),
        ("truth", lambda c: c["categories"].reverse(), "things must come before the stuff"),
        ("truth", lambda c: c.pop("categories"), "lacks categories"),
    ],
)  # fmt: skip
def test_bad_files_are_named(truth_file: Path, points_file: Path, name: str, edit: Any, message: str) -> None:
    files = {"truth": truth_file, "points": points_file}
    files[name] = change(files[name], truth_file.with_name(f"bad_{name}.json"), edit)
    with pytest.raises(ValueError, match=message) as error:
        dataset(files["truth"], points=str(files["points"]))
    assert files[name].name in str(error.value)


def test_missing_and_broken_files(truth_file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        dataset(truth_file.with_name("none.json"))
    broken = truth_file.with_name("broken.json")
    broken.write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json is not valid JSON"):
        dataset(broken)
    with pytest.raises(ValueError, match="at least 1"):
        dataset(truth_file, points=0)
    with pytest.raises(ValueError, match="multiples of 16"):
        dataset(truth_file, size_hw=(30, 64))
    write_segments(truth_file.parent / "truth" / "2.png", np.ones((HEIGHT, WIDTH), dtype=np.int64))
    with pytest.raises(ValueError, match=r"segment 3 of 2\.png is not in its PNG's box"):
        dataset(truth_file)[1]
    (truth_file.parent / "truth" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        dataset(truth_file)[0]


def test_segments_survive_their_file(tmp_path: Path) -> None:
    segment = np.array([[0, 1, 255, 256], [65535, 65536, 16777215, 3]])
    write_segments(tmp_path / "a.png", segment)
    assert np.array_equal(read_segments(tmp_path / "a.png"), segment)
    (tmp_path / "b.png").write_text(json.dumps("no picture"))
    with pytest.raises(ValueError, match=r"not a PNG.*b\.png"):
        read_segments(tmp_path / "b.png")
