"""Info files of a dataroot: what they hold, against mmdet3d's own reader; and every kind of incomplete dataroot."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_dataroot import CAR_SIZE_WLH, CAR_VELOCITY, LIDAR_POSE, SCENE, ego_pose, matrix

from perception.datasets import nuscenes_infos
from perception.datasets.info_files import read_info_file
from perception.datasets.nuscenes_entries import sample_entry
from perception.datasets.nuscenes_infos import CLASSES, create_info_files
from perception.datasets.nuscenes_reader import NuScenesReader
from perception.datasets.nuscenes_tables import open_nuscenes
from perception.datasets.synthetic import VERSION

TOOL = Path(__file__).resolve().parents[2] / "tools" / "create_data.py"


def run_tool(*arguments: object) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": str(TOOL.parents[1]), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_entries_hold_what_the_tables_say(small_infos):
    metainfo, samples = read_info_file(small_infos)
    assert (metainfo["version"], metainfo["split"], metainfo["dataroot"]) == ("v1.0-mini", "mini_train", ".")
    assert (
        metainfo["categories"]["pedestrian"] == CLASSES.index("pedestrian") and metainfo["categories"]["animal"] == -1
    )
    assert [s["token"] for s in samples] == ["sample_0", "sample_1"]
    assert [len(s["lidar_sweeps"]) for s in samples] == [0, 4]
    newest, oldest = samples[1]["lidar_sweeps"][0], samples[1]["lidar_sweeps"][-1]
    assert newest["lidar_points"]["lidar_path"] == "sweeps/LIDAR_TOP/lidar_3.pcd.bin"
    assert oldest["lidar_points"]["lidar_path"] == "samples/LIDAR_TOP/lidar_0.pcd.bin"
    assert samples[1]["timestamp"] - oldest["timestamp"] == pytest.approx(0.2, abs=1e-5)

    car, cone, animal = samples[1]["instances"]
    lidar_pose = matrix(*ego_pose(0.2)) @ matrix(*LIDAR_POSE)
    np.testing.assert_allclose(car["velocity"], (np.linalg.inv(lidar_pose[:3, :3]) @ CAR_VELOCITY)[:2], atol=1e-4)
    assert car["bbox_3d"][3:6] == [CAR_SIZE_WLH[1], CAR_SIZE_WLH[0], CAR_SIZE_WLH[2]]
    assert (car["bbox_label_3d"], cone["bbox_label_3d"], animal["bbox_label_3d"]) == (
        0,
        CLASSES.index("traffic_cone"),
        -1,
    )
    assert cone["velocity"] == [None, None] and not cone["bbox_3d_isvalid"] and car["attr_label"] == 5


def test_mmdet3d_reads_our_file_to_the_same_boxes_and_matrices(small_infos, small_root):
    from perception.datasets.nuscenes import NuScenesFusionDataset

    ours = NuScenesFusionDataset(str(small_infos), test_mode=True)
    theirs = NuScenesFusionDataset.__base__(
        data_root=str(small_root),
        ann_file=small_infos.name,
        data_prefix={"pts": "", "img": "", "sweeps": "sweeps/LIDAR_TOP"},
        modality={"use_lidar": True, "use_camera": True},
        filter_empty_gt=False,
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["lidar_path"] == other["lidar_path"]
        kept = mine["eval_ann_info"]["num_lidar_pts"] > 0
        expected = other["ann_info"]["gt_bboxes_3d"][other["ann_info"]["gt_labels_3d"] >= 0]
        np.testing.assert_allclose(mine["eval_ann_info"]["gt_bboxes_3d"].tensor[kept], expected.tensor, atol=1e-5)
        for channel, image in mine["images"].items():
            assert image["img_path"] == other["images"][channel]["img_path"]
            np.testing.assert_array_equal(image["lidar2cam"], other["images"][channel]["lidar2cam"])
            np.testing.assert_array_equal(image["cam2img"], other["images"][channel]["cam2img"])
        for sweep, reference in zip(mine["lidar_sweeps"], other["lidar_sweeps"], strict=True):
            assert sweep["timestamp"] == reference["timestamp"]
            np.testing.assert_allclose(
                sweep["lidar_points"]["lidar2sensor"], reference["lidar_points"]["lidar2sensor"], atol=1e-9
            )


def test_several_workers_write_the_same_bytes(small_root, small_infos, tmp_path):
    written = create_info_files(small_root, "v1.0-mini", tmp_path, workers=2, progress=False)["train"]
    metainfo, samples = read_info_file(written)
    assert (tmp_path / metainfo["dataroot"]).resolve() == small_root.resolve()
    assert samples == read_info_file(small_infos)[1]
    assert written.read_text().splitlines()[1:-1] == small_infos.read_text().splitlines()[1:-1]


def test_the_real_frame_has_its_68_boxes(one_frame_root, tmp_path):
    assert create_info_files(one_frame_root, "v1.0-mini", tmp_path, progress=False).keys() == {"train"}
    _, samples = read_info_file(tmp_path / "nuscenes_infos_train.json")
    assert len(samples) == 1 and len(samples[0]["instances"]) == 68 and len(samples[0]["images"]) == 6


def test_a_version_of_ones_own_brings_its_splits(damaged_root, tmp_path):
    (damaged_root / "v1.0-mini").rename(damaged_root / "v2-own")
    with pytest.raises(FileNotFoundError, match=r"splits\.json"):
        create_info_files(damaged_root, "v2-own", tmp_path / "out", progress=False)
    splits = damaged_root / "v2-own" / "splits.json"
    splits.write_text(json.dumps({"own_train": [], "own_val": [SCENE]}))
    written = create_info_files(damaged_root, "v2-own", tmp_path / "out", progress=False)
    assert written.keys() == {"val"} and read_info_file(written["val"])[0]["split"] == "own_val"
    splits.write_text(json.dumps({"other": [SCENE]}))
    with pytest.raises(ValueError, match="neither 'train', 'val' nor 'test'; it has other"):
        create_info_files(damaged_root, "v2-own", tmp_path / "out", progress=False)


def test_a_dataroot_without_annotations_gives_entries_without_boxes(damaged_root, tmp_path):
    for table in ("sample_annotation", "instance", "attribute"):
        (damaged_root / "v1.0-mini" / f"{table}.json").write_text("[]")
    path = create_info_files(damaged_root, "v1.0-mini", tmp_path / "out", progress=False)["train"]
    assert [s["instances"] for s in read_info_file(path)[1]] == [[], []]


def damage(root: Path, kind: str) -> None:
    tables = root / "v1.0-mini"
    if kind == "table":
        (tables / "ego_pose.json").unlink()
        (tables / "scene.json").unlink()
    elif kind == "broken table":
        (tables / "sample_data.json").write_text((tables / "sample_data.json").read_text()[:-40])
    elif kind == "dangling":
        (tables / "calibrated_sensor.json").write_text("[]")
    elif kind == "map":
        (root / "maps" / "empty.png").unlink()
    elif kind == "sweep":
        for path in (root / "sweeps" / "LIDAR_TOP").iterdir():
            path.unlink()
    elif kind == "image":
        (root / "samples" / "CAM_BACK" / "CAM_BACK_0.jpg").unlink()
    elif kind == "truncated":
        path = root / "samples" / "LIDAR_TOP" / "lidar_0.pcd.bin"
        path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("table", r"lacks 2 of 13 tables: ego_pose\.json, scene\.json"),
        ("broken table", r"sample_data\.json is not valid JSON"),
        ("dangling", r"sample_data\.json: record '\w+': calibrated_sensor_token refers to 'calibrated_\w+'"),
        ("map", r"is incomplete: there is no map .*empty\.png"),
        ("sweep", r"3 of 9 sensor files .* are bad: missing: .*sweeps/LIDAR_TOP/lidar_1\.pcd\.bin"),
        ("image", r"1 of 9 sensor files .* are bad: missing: .*CAM_BACK_0\.jpg"),
        ("truncated", r"1 of 9 sensor files .* are bad: LiDAR file is truncated: .*lidar_0\.pcd\.bin"),
    ],
)
def test_an_incomplete_dataroot_is_one_clear_error_and_nothing_is_written(damaged_root, tmp_path, kind, message):
    damage(damaged_root, kind)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        create_info_files(damaged_root, "v1.0-mini", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_bad_files_are_left_out_and_named_where_that_is_asked_for(damaged_root, tmp_path):
    names = ["samples/CAM_BACK/CAM_BACK_0.jpg", "sweeps/LIDAR_TOP/lidar_2.pcd.bin", "samples/LIDAR_TOP/lidar_0.pcd.bin"]
    for name in names:
        (damaged_root / name).write_bytes(b"")
    written = create_info_files(damaged_root, "v1.0-mini", tmp_path, progress=False, on_bad_data="skip")
    report = json.loads((tmp_path / "bad_files.json").read_text())
    assert report["count"] == 3 and sorted(report["files"]) == sorted(names)
    _, samples = read_info_file(written["train"])
    assert [sample["token"] for sample in samples] == ["sample_1"] and samples[0]["sample_idx"] == 0
    sweeps = [sweep["lidar_points"]["lidar_path"] for sweep in samples[0]["lidar_sweeps"]]
    assert len(sweeps) == 2 and names[1] not in sweeps and names[2] not in sweeps


def test_an_interrupted_run_goes_on_where_it_was(small_root, small_infos, tmp_path, monkeypatch):
    monkeypatch.setattr(nuscenes_infos, "_SAMPLES_PER_PART", 1)
    built = []

    def entry(nusc, token, index, sweeps, stop_at=None):
        if token == stop_at:
            raise KeyboardInterrupt
        built.append(token)
        return sample_entry(nusc, token, index, sweeps)

    monkeypatch.setattr(nuscenes_infos, "sample_entry", functools.partial(entry, stop_at="sample_1"))
    with pytest.raises(KeyboardInterrupt):
        create_info_files(small_root, "v1.0-mini", tmp_path, progress=False)
    assert built == ["sample_0"] and not (tmp_path / "nuscenes_infos_train.json").exists()
    monkeypatch.setattr(nuscenes_infos, "sample_entry", entry)
    path = create_info_files(small_root, "v1.0-mini", tmp_path, progress=False)["train"]
    assert built == ["sample_0", "sample_1"] and os.listdir(tmp_path) == [path.name]
    assert path.read_text().splitlines()[1:-1] == small_infos.read_text().splitlines()[1:-1]
    # Parts of other arguments are not taken for these.
    with pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(nuscenes_infos, "sample_entry", functools.partial(entry, stop_at="sample_1"))
        create_info_files(small_root, "v1.0-mini", tmp_path, progress=False)
    monkeypatch.setattr(nuscenes_infos, "sample_entry", entry)
    create_info_files(small_root, "v1.0-mini", tmp_path, sweeps=1, progress=False)
    assert [len(sample["lidar_sweeps"]) for sample in read_info_file(path)[1]] == [0, 1]


def test_entries_are_those_of_nuscenes_devkits_tables(small_root, tiny_synthetic):
    for root, version in ((small_root, "v1.0-mini"), (tiny_synthetic, VERSION)):
        reader, devkit = NuScenesReader(root, version), open_nuscenes(root, version)
        assert [s["token"] for s in reader.sample] == [s["token"] for s in devkit.sample]
        for sample in devkit.sample:
            ours, theirs = (sample_entry(nusc, sample["token"], 0, 10) for nusc in (reader, devkit))
            assert json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


def test_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such dataroot: .*none"):
        create_info_files(tmp_path / "none", "v1.0-mini", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="is it a nuScenes dataroot"):
        create_info_files(tmp_path, "v1.0-mini", tmp_path / "out")


def test_a_wrong_version_leaves_the_tool_with_one_line(small_root, tmp_path):
    wrong = run_tool("nuscenes", "--root", small_root, "--version", "v1.0-trainval", "--out", tmp_path / "out")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1
    assert "no version 'v1.0-trainval'" in wrong.stderr and "it has v1.0-mini" in wrong.stderr
    assert not (tmp_path / "out").exists()


def test_help_shows_examples_and_loads_nothing_heavy():
    helped = run_tool("--help")
    assert helped.returncode == 0 and "examples:" in helped.stdout
    code = (
        f"import runpy, sys; sys.argv = ['create_data', 'nuscenes', '--help']\n"
        f"try: runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
        f"except SystemExit: assert not {{'torch', 'numpy', 'nuscenes'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
