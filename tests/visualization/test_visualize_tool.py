"""tools/visualize.py on the real key frame, and its answers to bad input."""

import importlib.util
import json
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


def test_open3d_gets_the_same_scene() -> None:
    pytest.importorskip(
        "open3d", reason="needs Open3D (pip install open3d; apt-get install libusb-1.0-0)", exc_type=ImportError
    )
    from perception.visualization.desktop import geometries

    box = np.array([[10.0, 0, 0, 4, 2, 1.5, 0.3, 0, 0]])
    cloud, lines = geometries(np.random.default_rng(0).normal(0, 5, (100, 5)), box, np.array([0]), ["car"])
    assert len(cloud.points) == 100
    np.testing.assert_allclose(np.asarray(lines.points).mean(axis=0), box[0, :3], atol=1e-9)
    assert len(lines.lines) == 12


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
