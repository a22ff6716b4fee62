"""tools/visualize.py on the real key frame, and its answers to bad input."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from browser import Browser
from nuscenes import NuScenes

from perception.visualization.style import CLASS_COLOURS, ERROR_COLOURS

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "visualize.py"
CAR = CLASS_COLOURS["car"]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("visualize", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_detection_of_the_global_frame_lands_on_its_ground_truth(
    tool: ModuleType, one_frame_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The devkit's global annotations, given as detections, leave solid outlines on the dashed ones, and no others."""
    nusc = NuScenes("v1.0-mini", str(one_frame_root), verbose=False)
    token = nusc.sample[0]["token"]
    entries = [
        {
            "translation": row["translation"],
            "size": row["size"],
            "rotation": row["rotation"],
            "velocity": [0.0, 0.0],
            "detection_name": "car",
            "detection_score": 0.9,
        }
        for row in nusc.sample_annotation
        if row["category_name"] == "vehicle.car"
    ]
    source = ["--root", str(one_frame_root), "--version", "v1.0-mini", "--quiet"]
    pictures = []
    for name, content in (("with", entries), ("without", [])):
        results = tmp_path / f"{name}.json"
        results.write_text(json.dumps({"meta": {}, "results": {token: content}}))
        assert tool.main([*source, "--results", str(results), "--out", str(tmp_path / name)]) == 0
        (path,) = (tmp_path / name).iterdir()
        assert str(path) in capsys.readouterr().out
        pictures.append(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(int))
    drawn, bare = pictures
    near = slice(-950, None), slice(-950, None)  # the view from above that shows 20 m around
    added = (drawn[near] != bare[near]).any(-1)
    assert added.any()
    truth = (np.abs(bare[near] - CAR) < 150).all(-1) & (bare[near][..., 0] > bare[near][..., 2] + 40)
    reach = cv2.dilate(truth.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert (added & ~reach).sum() == 0


def submission(root: Path, token: str, path: Path) -> Path:
    """Every second annotated car where it is, as a detection, and a surer one where nothing is."""
    nusc = NuScenes("v1.0-mini", str(root), verbose=False)
    rows = [row for row in nusc.sample_annotation if row["category_name"] == "vehicle.car" and row["num_lidar_pts"]]
    common = {"sample_token": token, "velocity": [0.0, 0.0], "attribute_name": ""}
    cars = [
        {**common, **{key: row[key] for key in ("translation", "size", "rotation")}, "detection_name": "car",
         "detection_score": 0.9}
        for row in rows[::2]
    ]  # fmt: skip
    lidar = nusc.get("sample_data", nusc.get("sample", token)["data"]["LIDAR_TOP"])
    x, y, z = nusc.get("ego_pose", lidar["ego_pose_token"])["translation"]
    false = {**common, "translation": [x + 3, y + 3, z + 1], "size": [1.9, 4.5, 1.6], "rotation": [1.0, 0, 0, 0]}
    content = {token: [*cars, {**false, "detection_name": "car", "detection_score": 0.95}]}
    meta = {f"use_{name}": False for name in ("camera", "lidar", "radar", "map", "external")}
    path.write_text(json.dumps({"meta": meta, "results": content}))
    return path


def test_errors_as_pictures_video_and_viewer(
    tool: ModuleType, one_frame_root: Path, tmp_path: Path, browser: Browser
) -> None:
    """One call writes all three; the viewer opens and knows which objects are right, which are missed."""
    token = NuScenes("v1.0-mini", str(one_frame_root), verbose=False).sample[0]["token"]
    results = submission(one_frame_root, token, tmp_path / "results.json")
    (tmp_path / "list.txt").write_text(token + "\n")
    source = ["--root", str(one_frame_root), "--version", "v1.0-mini", "--quiet", "--list", str(tmp_path / "list.txt")]
    out = ["--out", str(tmp_path / "png"), "--mp4", str(tmp_path / "a.mp4"), "--html", str(tmp_path / "a.html")]
    assert tool.main([*source, "--results", str(results), "--errors", *out]) == 0
    (picture,) = (tmp_path / "png").iterdir()
    image = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB).astype(int)
    for kind in ("right", "missed", "false"):
        assert (np.abs(image - ERROR_COLOURS[kind]).max(axis=2) < 40).sum() > 20
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 1
    browser.errors.clear()
    browser.open(tmp_path / "a.html", 900, 700)
    kinds = browser.evaluate("boxes().map(b => [b.name, b.dashed, b.kind].join())")
    assert browser.errors == []
    assert kinds.count("car,true,right") == kinds.count("car,false,right") == 2
    assert kinds.count("car,true,missed") == 2
    assert kinds.count("car,false,false") == 1


WINDOW = """
import numpy as np
import open3d
from perception.visualization.desktop import geometries, show

def look(window):
    window.poll_events()
    window.update_renderer()
    picture = np.asarray(window.capture_screen_float_buffer(True))
    print("drawn", (picture.max(axis=2) - picture.min(axis=2) > 0.5).sum())  # the box's orange

open3d.visualization.Visualizer.run = look  # in place of waiting for somebody to close the window
box = np.array([[10.0, 0, 0, 4, 2, 1.5, 0.3, 0, 0]])
cloud, lines = geometries(np.random.default_rng(0).normal(0, 5, (1000, 5)), box, np.array([0]), ["car"])
assert len(cloud.points) == 1000 and len(lines.lines) == 12
np.testing.assert_allclose(np.asarray(lines.points).mean(axis=0), box[0, :3], atol=1e-9)
show([cloud, lines], "a frame")
"""


def test_open3ds_window_shows_the_frame() -> None:
    """On a display in memory; in a process of its own, for what a graphics driver may do to one."""
    if shutil.which("xvfb-run") is None:
        pytest.skip("needs a display in memory: apt-get install xvfb xauth")
    pytest.importorskip(
        "open3d", reason="needs Open3D (pip install open3d; apt-get install libusb-1.0-0)", exc_type=ImportError
    )
    done = subprocess.run(["xvfb-run", "-a", sys.executable, "-c", WINDOW], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split("drawn")[1]) > 100


def test_without_open3d_the_remedy_is_named(
    tool: ModuleType, one_frame_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)  # importing it raises ImportError, as without libusb
    assert tool.main(["--root", str(one_frame_root), "--version", "v1.0-mini", "--desktop", "--quiet"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "pip install open3d" in line and "apt-get install libusb-1.0-0" in line


def test_bad_input_is_named(
    tool: ModuleType, one_frame_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = ["--root", str(one_frame_root), "--version", "v1.0-mini", "--quiet", "--out", str(tmp_path / "out")]
    foreign = tmp_path / "foreign.json"
    foreign.write_text('{"meta": {}, "results": {"elsewhere": []}}')
    broken = tmp_path / "broken.json"
    broken.write_text("[]")
    for arguments, message in [
        ([*frame, "--scene", "scene-0001"], "none of the 1 frames"),
        ([*frame, "--results", str(foreign)], "has no sample ca9a282c9e77460f8360f564131a8af5"),
        ([*frame, "--results", str(broken)], "broken.json is no nuScenes submission"),
        ([*frame, "--results", str(tmp_path / "absent.json")], "absent.json"),
        (["--infos", str(tmp_path / "infos.json"), "--out", str(tmp_path / "out")], "no info file"),
    ]:
        assert tool.main(arguments) == 1
        assert message in capsys.readouterr().err
    nowhere = frame[: frame.index("--out")]
    for arguments in (
        ["--out", "x"],
        ["--root", "x", "--out", "x"],
        [*frame, "--limit", "0"],
        [*frame, "--errors"],
        nowhere,
    ):
        with pytest.raises(SystemExit):
            tool.main(arguments)
    assert not (tmp_path / "out").exists()
