"""tools/verify_export.py of an ONNX artifact: ONNX Runtime in the place of perception-run."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from small_network import REPOSITORY, Exported, export_small_network

from perception.command_line import BAD_INPUT, DONE, PROBLEMS
from perception.export.manifest import file_sha256

REFERENCE = Path(__file__).with_name("reference.json")


@pytest.fixture(scope="module")
def onnx_artifact(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    return export_small_network(tmp_path_factory.mktemp("onnx"), "onnx")


def verify(artifact: Path, exported: Exported, data: Path, *options: str) -> int:
    main = runpy.run_path(str(REPOSITORY / "tools" / "verify_export.py"))["main"]
    return main([str(artifact), str(exported.config), str(exported.checkpoint), str(data), "--json", *options])


def test_boxes_are_those_of_the_python_model_in_every_case(
    onnx_artifact: Exported, tiny_synthetic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    infos = tiny_synthetic / "nuscenes_infos_val.json"
    status = verify(onnx_artifact.artifact, onnx_artifact, infos, "--frames", "1")
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert status == DONE, cases
    names = [case.removeprefix("ok").strip().partition(":")[0] for case in cases]
    assert names == [
        "as recorded", "one camera missing", "no cameras", "LiDAR missing", "empty cloud", "1 point", "120000 points",
    ]  # fmt: skip
    boxes = int(cases[0].partition("frames, ")[2].split()[0])
    assert boxes > 3


def test_another_graph_is_found(
    onnx_artifact: Exported, tiny_synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    infos = tiny_synthetic / "nuscenes_infos_val.json"
    assert verify(artifact, onnx_artifact, infos, "--frames", "1") == BAD_INPUT
    assert "damaged" in capsys.readouterr().err
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["artifact"]["sha256"] = file_sha256(artifact / "model.onnx")
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    assert verify(artifact, onnx_artifact, infos, "--frames", "1") == PROBLEMS
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert cases[0].startswith("FAIL as recorded") and "centre 2.0e-03" in cases[0]


def test_what_is_missing_is_named(
    onnx_artifact: Exported,
    tiny_synthetic: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    infos = tiny_synthetic / "nuscenes_infos_val.json"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert verify(onnx_artifact.artifact, onnx_artifact, infos) == BAD_INPUT
    assert "pip install 'perception[onnx]'" in capsys.readouterr().err
    assert verify(onnx_artifact.artifact, onnx_artifact, infos, "--replay", str(REFERENCE)) == BAD_INPUT
    assert "does not run in perception-run" in capsys.readouterr().err
