"""The GT database: the objects' points and boxes, against a slow search; written whole or not at all; read strictly."""

import json
import os
import runpy
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from object_frames import write_frames
from pyquaternion import Quaternion

from perception.datasets.gt_cutting import create_gt_database
from perception.datasets.gt_database import GTDatabase
from perception.datasets.info_files import read_info_file
from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.nuscenes_infos import CLASSES, create_info_files
from perception.datasets.transforms import LoadSweeps

TOOL = Path(__file__).resolve().parents[2] / "tools" / "create_data.py"


@pytest.fixture(scope="module")
def infos(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("frames"), count=6, sweeps=2)


@pytest.fixture(scope="module")
def folder(infos, tmp_path_factory):
    out = tmp_path_factory.mktemp("database") / "gt"
    create_gt_database(infos, out, sweeps=2, progress=False)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()[1:]]


def inside(points: np.ndarray, box: list[float]) -> np.ndarray:
    """[P] bool by the devkit, which reads a box by its corners."""
    length, width, height = box[3:6]
    own = Box(box[:3], [width, length, height], Quaternion(axis=[0, 0, 1], angle=box[6]))
    return points_in_box(own, points[:, :3].T.astype(np.float64))


def test_objects_hold_what_the_devkit_finds_in_their_boxes(infos, folder):
    frames = {info["token"]: LoadSweeps(sweeps=2)(info)["points"] for info in NuScenesFusionDataset(str(infos))}
    expected = {
        (sample["token"], tuple(row["bbox_3d"])): row
        for sample in read_info_file(infos)[1]
        for row in sample["instances"]
    }
    points = np.fromfile(folder / "points.bin", np.float32).reshape(-1, 5)
    found = records(folder)
    assert len(found) == len(expected) == 30
    for record in found:
        row = expected.pop((record["sample"], tuple(record["box"][:7])))
        frame = frames[record["sample"]]
        own = points[record["first_point"] :][: record["num_points"]]
        np.testing.assert_array_equal(own, frame[inside(frame, record["box"])])
        assert record["num_key_points"] == (own[:, 4] == 0).sum() < record["num_points"]
        assert record["class"] == CLASSES[row["bbox_label_3d"]]
        assert record["box"][7:] == row["velocity"]
        assert record["visibility"] == (row["visibility"] or None)
        assert record["num_lidar_pts"] == row["num_lidar_pts"]


def test_opened_by_class_with_nan_for_unknown_velocities(folder):
    database, rows = GTDatabase(folder), records(folder)
    assert {name: len(objects.boxes) for name, objects in database.objects.items()} == {
        "car": 18,
        "bus": 6,
        "pedestrian": 6,
    }
    assert database.header["sweeps"] == 2 and not database.points.flags.writeable
    for name, objects in database.objects.items():
        own = [row for row in rows if row["class"] == name]
        for i, row in enumerate(own):
            box = np.array([np.nan if v is None else v for v in row["box"]], np.float32)
            np.testing.assert_array_equal(objects.boxes[i], box)
            points = database.points_of(name, i)
            assert inside(points, row["box"]).all() and len(points) == objects.num_points[i] == row["num_points"]
            assert objects.num_key_points[i] == row["num_key_points"]
            assert objects.visibility[i] == (row["visibility"] or 0)
    assert any(np.isnan(objects.boxes[:, 7:]).any() for objects in database.objects.values())


def test_objects_with_too_few_points_are_left_out(infos, folder, tmp_path):
    kept = create_gt_database(infos, tmp_path / "gt", sweeps=0, min_points=40, progress=False)
    key_points = [row["num_key_points"] for row in records(folder)]
    assert sum(kept.values()) == sum(n >= 40 for n in key_points) < len(key_points)
    with pytest.raises(ValueError, match="no object with 100000 LiDAR points"):
        create_gt_database(infos, tmp_path / "none", min_points=100_000, progress=False)
    assert os.listdir(tmp_path) == ["gt"]


def test_several_workers_write_the_same_bytes(infos, folder, tmp_path):
    create_gt_database(infos, tmp_path / "gt", sweeps=2, workers=2, progress=False)
    assert contents(tmp_path / "gt") == contents(folder)


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    """Clouds large enough that keeping anything of each frame would show."""

    def peak_bytes(count: int) -> int:
        infos = write_frames(tmp_path / str(count), count, classes=("car",) * 40, background=5000, sweeps=0)
        tracemalloc.start()
        try:
            create_gt_database(infos, tmp_path / f"gt_{count}", progress=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(1)  # what is imported and cached at first use
    few, many = peak_bytes(5), peak_bytes(50)
    written = sum(path.stat().st_size for path in (tmp_path / "gt_50").iterdir())
    assert many < 1.1 * few and many < written / 2


def test_a_failure_keeps_the_database_that_was_there_and_leaves_nothing_else(tmp_path):
    infos = write_frames(tmp_path / "frames", count=3)
    out = tmp_path / "gt"
    create_gt_database(infos, out, progress=False)
    before = contents(out)
    (tmp_path / "frames/samples/LIDAR_TOP/sweep_2_1.pcd.bin").unlink()
    for workers in (1, 2):
        with pytest.raises(FileNotFoundError, match=r"sweep_2_1\.pcd\.bin"):
            create_gt_database(infos, out, workers=workers, progress=False)
    assert contents(out) == before and sorted(os.listdir(tmp_path)) == ["frames", "gt"]
    create_gt_database(infos, out, sweeps=0, progress=False)  # replaces it
    assert GTDatabase(out).header["sweeps"] == 0 and sorted(os.listdir(tmp_path)) == ["frames", "gt"]


KILLED_AT_THE_FOURTH_SAMPLE = """
import os, sys
from perception.datasets import gt_cutting
cut = gt_cutting._Cutter.__call__
gt_cutting._Cutter.__call__ = lambda self, info: os._exit(9) if info["token"] == "sample_3" else cut(self, info)
gt_cutting.create_gt_database(sys.argv[1], sys.argv[2], sweeps=2, progress=False)
"""


def test_a_killed_run_leaves_no_database_and_the_next_one_goes_through(infos, folder, tmp_path):
    out = tmp_path / "gt"
    # Its own process, not a forked one: a forked child may hang on the parent's threads.
    process = subprocess.run([sys.executable, "-c", KILLED_AT_THE_FOURTH_SAMPLE, str(infos), str(out)], check=False)
    assert process.returncode == 9 and os.listdir(tmp_path) == ["gt.partial"]
    create_gt_database(infos, out, sweeps=2, progress=False)
    assert os.listdir(tmp_path) == ["gt"] and contents(out) == contents(folder)

    # Killed between the two renames that put a new database in the place of an old one.
    out.rename(tmp_path / "gt.previous")
    with pytest.raises(ValueError, match="no object"):
        create_gt_database(infos, out, min_points=100_000, progress=False)
    assert os.listdir(tmp_path) == ["gt"] and contents(out) == contents(folder)


def test_a_folder_of_other_things_is_refused(infos, tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(FileExistsError, match="is no GT database: choose another folder"):
        create_gt_database(infos, tmp_path, progress=False)
    assert os.listdir(tmp_path) == ["photo.jpg"]


def cut_points(folder: Path) -> None:
    content = (folder / "points.bin").read_bytes()
    (folder / "points.bin").write_bytes(content[:-20])


def edit_index(line: int, old: str, new: str):
    def edit(folder: Path) -> None:
        lines = (folder / "index.jsonl").read_text().splitlines(keepends=True)
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new)
        (folder / "index.jsonl").write_text("".join(lines))

    return edit


def cut_index(folder: Path) -> None:
    lines = (folder / "index.jsonl").read_text().splitlines(keepends=True)
    (folder / "index.jsonl").write_text("".join(lines[:-1]))


def empty_index(folder: Path) -> None:
    (folder / "index.jsonl").write_text('{"gt_database": 1}\n')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_points, r"points\.bin has \d+ bytes, but .*index\.jsonl speaks of \d+"),
        (cut_index, r"points\.bin has \d+ bytes, but .*index\.jsonl speaks of \d+"),
        (edit_index(0, '"gt_database": 1', '"gt_database": 7'), r"index\.jsonl is of version 7, .* reads version 1"),
        (edit_index(0, '"gt_database"', '"something"'), r"index\.jsonl is not the index of a GT database"),
        (edit_index(0, "{", ""), r"index\.jsonl is not the index of a GT database"),
        (edit_index(3, "}", ""), r"index\.jsonl, line 4, is damaged"),
        (edit_index(5, '"num_points"', '"points"'), r"index\.jsonl, line 6, is damaged \('num_points'\)"),
        (edit_index(2, '"box": [', '"box": [1.0, '), r"index\.jsonl, line 3, is damaged \(the box"),
        (edit_index(4, '"first_point": ', '"first_point": 1'), r"index\.jsonl, line 5, .* begin at row \d+"),
        (empty_index, r"index\.jsonl lists no objects"),
    ],
)
def test_damage_is_named_with_its_remedy(folder, tmp_path, damage, message):
    for name, content in contents(folder).items():
        (tmp_path / name).write_bytes(content)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message + r".*tools/create_data\.py gt-database"):
        GTDatabase(tmp_path)


def test_a_missing_database_names_the_command(folder, tmp_path):
    command = rf"tools/create_data\.py gt-database --ann-file INFO_FILE --out {tmp_path}"
    with pytest.raises(FileNotFoundError, match=command):
        GTDatabase(tmp_path)
    (tmp_path / "index.jsonl").write_bytes((folder / "index.jsonl").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"no points\.bin.*" + command):
        GTDatabase(tmp_path)


def test_the_tool_makes_it_and_names_what_is_wrong(infos, folder, tmp_path, capsys):
    main = runpy.run_path(str(TOOL))["main"]
    arguments = ["gt-database", "--ann-file", str(infos), "--out", str(tmp_path / "gt"), "--sweeps", "2", "--quiet"]
    assert main(arguments) == 0
    assert "30 objects: bus 6, car 18, pedestrian 6" in capsys.readouterr().out
    assert contents(tmp_path / "gt") == contents(folder)
    assert main([*arguments, "--root", str(tmp_path / "gone")]) == 1
    assert "no dataroot at" in capsys.readouterr().err
    assert main(["gt-database", "--ann-file", str(tmp_path / "none.json"), "--out", str(tmp_path / "gt")]) == 1
    assert "no info file" in capsys.readouterr().err
    assert contents(tmp_path / "gt") == contents(folder)


def test_real_objects_have_the_points_that_nuscenes_counted(one_frame_root, tmp_path):
    infos = create_info_files(one_frame_root, "v1.0-mini", tmp_path, progress=False)["train"]
    create_gt_database(infos, tmp_path / "gt", min_points=1, progress=False)
    found = records(tmp_path / "gt")
    counted = [row["num_lidar_pts"] for row in read_info_file(infos)[1][0]["instances"]]
    assert len(found) == sum(count > 0 for count in counted)
    # nuScenes counted in boxes that stand upright in the world; in the leaning LiDAR frame ours have a yaw only.
    differences = np.array([record["num_points"] - record["num_lidar_pts"] for record in found])
    assert (differences != 0).mean() < 0.2 and np.abs(differences).sum() < 0.05 * sum(counted)
