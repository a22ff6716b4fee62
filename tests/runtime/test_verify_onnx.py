"""tools/verify_export.py of an ONNX artifact: ONNX Runtime in the place of perception-run."""

import json
import math
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_network import REPOSITORY, Exported, export_small_network

from perception.command_line import BAD_INPUT, DONE, PROBLEMS
from perception.engine.export import CAMERAS
from perception.export.manifest import file_sha256
from perception.geometry import rigid, rotation_z

REFERENCE = Path(__file__).with_name("reference.json")


@pytest.fixture(scope="module")
def onnx_artifact(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    return export_small_network(tmp_path_factory.mktemp("onnx"), "onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One frame by the folder convention: a random cloud, and blurred noise for the six cameras, which look around."""
    folder, rng = tmp_path_factory.mktemp("frame"), np.random.default_rng(0)
    rows, columns = 180, 320
    cameras = {}
    for index, name in enumerate(CAMERAS):
        turned = rigid([0.0, 0.0, 0.0], rotation_z(index * math.pi / 3))
        camera_from_lidar = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]) @ turned
        intrinsics = [[250.0, 0, columns / 2], [0, 250.0, rows / 2], [0, 0, 1]]
        cameras[name] = {
            "camera_from_lidar": camera_from_lidar.tolist(), "intrinsics": intrinsics, "width": columns, "height": rows,
        }  # fmt: skip
        (folder / name).mkdir()
        picture = cv2.resize(rng.integers(0, 256, (rows // 10, columns // 10, 3), dtype=np.uint8), (columns, rows))
        cv2.imwrite(str(folder / name / "0.png"), picture)
    (folder / "calibration.json").write_text(json.dumps({"cameras": cameras}))
    (folder / "lidar").mkdir()
    cloud = rng.uniform([-50, -50, -2, 0, 0], [50, 50, 2, 255, 0], (5000, 5)).astype(np.float32)
    cloud.tofile(folder / "lidar" / "0.bin")
    return folder


def verify(artifact: Path, exported: Exported, data: Path, *options: str) -> int:
    main = runpy.run_path(str(REPOSITORY / "tools" / "verify_export.py"))["main"]
    return main([str(artifact), str(exported.config), str(exported.checkpoint), str(data), "--json", *options])


def test_boxes_are_those_of_the_python_model_in_every_case(
    onnx_artifact: Exported, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = verify(onnx_artifact.artifact, onnx_artifact, folder)
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert status == DONE, cases
    names = [case.removeprefix("ok").strip().partition(":")[0] for case in cases]
    assert names == [
        "as recorded", "one camera missing", "no cameras", "LiDAR missing", "empty cloud", "1 point", "120000 points",
    ]  # fmt: skip
    boxes = int(cases[0].partition("frames, ")[2].split()[0])
    assert boxes > 3


def test_another_graph_is_found(
    onnx_artifact: Exported, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A graph whose boxes are two millimetres off, under a manifest that says nothing of it."""
    import onnx

    artifact = tmp_path / "artifact"
    shutil.copytree(onnx_artifact.artifact, artifact)
    model = onnx.load(artifact / "model.onnx")
    boxes = model.graph.output[0].name
    producer = next(node for node in model.graph.node if boxes in node.output)
    producer.output[list(producer.output).index(boxes)] = "right"
    model.graph.initializer.append(onnx.helper.make_tensor("off", onnx.TensorProto.FLOAT, [9], [0.002] + [0.0] * 8))
    model.graph.node.append(onnx.helper.make_node("Add", ["right", "off"], [boxes]))
    onnx.save(model, artifact / "model.onnx")
    assert verify(artifact, onnx_artifact, folder) == BAD_INPUT
    assert "damaged" in capsys.readouterr().err
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["artifact"]["sha256"] = file_sha256(artifact / "model.onnx")
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    assert verify(artifact, onnx_artifact, folder) == PROBLEMS
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert cases[0].startswith("FAIL as recorded") and "centre 2.0e-03" in cases[0]


def test_what_is_missing_is_named(
    onnx_artifact: Exported,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert verify(onnx_artifact.artifact, onnx_artifact, folder) == BAD_INPUT
    assert "pip install 'perception[onnx]'" in capsys.readouterr().err
    assert verify(onnx_artifact.artifact, onnx_artifact, folder, "--replay", str(REFERENCE)) == BAD_INPUT
    assert "does not run in perception-run" in capsys.readouterr().err
