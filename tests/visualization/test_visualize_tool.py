"""tools/visualize.py on the real key frame, and its answers to bad input."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from nuscenes import NuScenes

from perception.visualization.style import CLASS_COLOURS

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "visualize.py"
CAR = CLASS_COLOURS["car"]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("visualize", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_is_quick_and_has_examples() -> None:
    started_s = time.monotonic()
    done = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    assert time.monotonic() - started_s < 1.5
    assert "examples:" in done.stdout


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
    for arguments in (["--out", "x"], ["--root", "x", "--out", "x"], [*frame, "--limit", "0"]):
        with pytest.raises(SystemExit):
            tool.main(arguments)
    assert not (tmp_path / "out").exists()
