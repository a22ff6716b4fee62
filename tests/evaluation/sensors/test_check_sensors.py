"""tools/check_sensors.py on a dataroot with injected faults: it names the faulty sensor and no other."""

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from pyquaternion import Quaternion

SCRIPT = Path(__file__).resolve().parents[3] / "tools" / "check_sensors.py"
VERSION = "v1.0-trainval"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_sensors", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes of two key frames: enough to judge turns, with images large enough for it."""
    from perception.datasets.synthetic import generate_dataroot

    root = tmp_path_factory.mktemp("recording")
    return generate_dataroot(
        root, 4, 0, keyframes_per_scene=2, seed=3, image_size=(640, 360), workers=1, progress=False
    )


@pytest.fixture
def recording(dataroot: Path, tmp_path: Path) -> Path:
    """A copy to harm: files are hard links, so one is replaced, never written into."""
    return Path(shutil.copytree(dataroot, tmp_path / "recording", copy_function=os.link))


def check(
    tool: ModuleType, capsys: pytest.CaptureFixture[str], root: Path, *options: str
) -> tuple[int, dict[str, Any]]:
    status = tool.main([str(root), "--quiet", "--json", *options])
    return status, json.loads(capsys.readouterr().out)["sensors"]


def faulty(sensors: dict[str, Any]) -> dict[str, list[str]]:
    return {name: sensor["reasons"] for name, sensor in sensors.items() if sensor["verdict"] == "FAULT"}


def edit(root: Path, table: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.unlink()
    path.write_text(json.dumps(rows))


def files_of(root: Path, sensor: str) -> list[Path]:
    return sorted((root / "samples" / sensor).iterdir())


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def calibrated(root: Path, sensor: str) -> str:
    rows = json.loads((root / VERSION / "sensor.json").read_text())
    token = next(row["token"] for row in rows if row["channel"] == sensor)
    rows = json.loads((root / VERSION / "calibrated_sensor.json").read_text())
    return str(next(row["token"] for row in rows if row["sensor_token"] == token))


def turn(root: Path, sensor: str, degrees: float, axis: tuple[float, float, float]) -> None:
    """Turn a sensor's calibration about an axis of its own frame."""
    token = calibrated(root, sensor)

    def change(rows: list[dict[str, Any]]) -> None:
        row = next(row for row in rows if row["token"] == token)
        row["rotation"] = list(Quaternion(row["rotation"]) * Quaternion(axis=axis, degrees=degrees))

    edit(root, "calibrated_sensor", change)


def shift_clock(root: Path, sensor: str, seconds: float, last_only: bool = False) -> None:
    token = calibrated(root, sensor)

    def change(rows: list[dict[str, Any]]) -> None:
        mine = [row for row in rows if row["calibrated_sensor_token"] == token]
        for row in mine[-1:] if last_only else mine:
            row["timestamp"] += round(seconds * 1e6)

    edit(root, "sample_data", change)


def test_no_fault_where_there_is_none(tool: ModuleType, dataroot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, sensors = check(tool, capsys, dataroot)
    assert faulty(sensors) == {}
    assert status == 0
    assert len(sensors) == 7
    assert all(sensors[name]["alignment"] is not None for name in sensors if name != "LIDAR_TOP")
    assert "moves (needs 32 frames)" in sensors["CAM_FRONT"]["not_judged"]


def test_no_fault_in_the_real_frame(tool: ModuleType, one_frame_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, sensors = check(tool, capsys, one_frame_root)
    assert (status, faulty(sensors)) == (0, {})
    assert any("place" in reason for reason in sensors["CAM_FRONT"]["not_judged"])  # one frame does not tell


def test_a_degree_of_one_camera_and_of_the_lidar(
    tool: ModuleType, recording: Path, dataroot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turn(recording, "CAM_BACK_LEFT", 1.0, (0, 1, 0))
    status, sensors = check(tool, capsys, recording)
    assert status == 4
    assert list(faulty(sensors)) == ["CAM_BACK_LEFT"]
    assert "turned by" in sensors["CAM_BACK_LEFT"]["reasons"][0]
    other = Path(shutil.copytree(dataroot, tmp_path / "other", copy_function=os.link))
    turn(other, "LIDAR_TOP", 1.0, (0, 0, 1))
    _, sensors = check(tool, capsys, other)
    assert list(faulty(sensors)) == ["LIDAR_TOP"]


@pytest.mark.parametrize("sensor", ["CAM_FRONT", "LIDAR_TOP"])
def test_a_tenth_of_a_second(
    tool: ModuleType, recording: Path, sensor: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shift_clock(recording, sensor, 0.1)
    _, sensors = check(tool, capsys, recording, "--frames", "1")
    assert list(faulty(sensors)) == [sensor]
    # The LiDAR's is told from the median camera, which is triggered 20 to 40 ms before it.
    shift_ms = int(re.findall(r"clock \+(\d+) ms", sensors[sensor]["reasons"][0])[0])
    assert 80 <= shift_ms <= 140


def test_a_late_frame(tool: ModuleType, recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shift_clock(recording, "CAM_BACK", 0.03, last_only=True)
    _, sensors = check(tool, capsys, recording, "--frames", "1")
    assert faulty(sensors) == {"CAM_BACK": ["1 of 8 readings late"]}


def test_files_missing_truncated_and_repeated(
    tool: ModuleType, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = files_of(recording, "CAM_FRONT_RIGHT")[2]
    missing.unlink()
    cut = files_of(recording, "CAM_BACK")[1]
    replace(cut, cut.read_bytes()[:-500])
    frozen = files_of(recording, "CAM_FRONT_LEFT")
    replace(frozen[3], frozen[2].read_bytes())
    cloud = files_of(recording, "LIDAR_TOP")[0]
    replace(cloud, cloud.read_bytes()[:-7])
    garbled = files_of(recording, "CAM_BACK_RIGHT")[0]  # the markers of a JPEG and nothing between them
    replace(garbled, garbled.read_bytes()[:2] + bytes(5000) + garbled.read_bytes()[-2:])
    _, sensors = check(tool, capsys, recording, "--frames", "2")
    found = faulty(sensors)
    assert garbled.name in found["CAM_BACK_RIGHT"][0]
    assert found["CAM_FRONT_RIGHT"] == [f"1 of 8 files missing: {missing.name}"]
    assert found["CAM_BACK"] == [f"1 of 8 files truncated: {cut.name}"]
    assert found["CAM_FRONT_LEFT"] == [f"1 of 8 files the same as the one before: {frozen[3].name}"]
    assert "files truncated" in found["LIDAR_TOP"][0]
    assert len(found) == 5


def test_figures_against_a_reference(
    tool: ModuleType, recording: Path, dataroot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = tmp_path / "reference.json"
    assert tool.main([str(dataroot), "--quiet", "--write-reference", str(reference), "--frames", "4"]) == 0
    capsys.readouterr()
    _, sensors = check(tool, capsys, dataroot, "--reference", str(reference), "--frames", "4")
    assert faulty(sensors) == {}
    for path in files_of(recording, "CAM_FRONT"):  # a lens cap
        black = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 3, (360, 640, 3), np.uint8))[1]
        replace(path, black.tobytes())
    for path in files_of(recording, "LIDAR_TOP"):  # half of the view is blocked
        points = np.fromfile(path, np.float32).reshape(-1, 5)
        replace(path, points[points[:, 0] > 0].tobytes())
    _, sensors = check(tool, capsys, recording, "--reference", str(reference), "--frames", "4")
    found = faulty(sensors)
    assert set(found) == {"CAM_FRONT", "LIDAR_TOP"}
    assert any("brightness" in reason for reason in found["CAM_FRONT"])
    assert any("empty sectors" in reason for reason in found["LIDAR_TOP"])


def test_bad_input_is_named(
    tool: ModuleType, dataroot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"format": 0}')
    for arguments, message in [
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([str(tmp_path)], "neither calibration.json nor"),
        ([str(dataroot), "--scenes", "scene-9999"], "no scenes scene-9999"),
        ([str(dataroot), "--reference", str(tmp_path / "none.json")], "none.json"),
        ([str(dataroot), "--reference", str(wrong)], "wrong.json is no reference"),
    ]:
        assert tool.main([*arguments, "--quiet"]) == 1
        assert message in capsys.readouterr().err
