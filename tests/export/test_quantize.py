"""INT8 of the camera backbone: which nodes, how near to float32, what the manifest says, what is refused."""

import copy
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from test_export import spec
from test_model import frames, network

from perception.engine.export import _check_onnx, export
from perception.engine.onnx_runtime import OnnxRuntimeNetwork
from perception.engine.quantize import backbone, calibration_images, quantize_backbone
from perception.engine.run import load_config
from perception.export.manifest import read_manifest
from perception.export.onnx import write_onnx_artifact
from perception.model import PerceptionNetwork

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CALIBRATION = [frames(1).images[0].numpy(), 255 - frames(1).images[0].numpy()]


class Pair(NamedTuple):
    """A small network with cameras alone, which is traced fastest; its float32 graph and its INT8 artifact."""

    network: PerceptionNetwork
    float32: Path
    int8: Path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder, net = tmp_path_factory.mktemp("int8"), network(lidar=False)

    def quantize(model: Path) -> dict[str, Any]:
        shutil.copy(model, folder / "float32.onnx")
        return quantize_backbone(model, CALIBRATION)

    artifact = write_onnx_artifact(net, spec(lidar=False), folder / "artifact", _check_onnx, quantize)
    return Pair(net, folder / "float32.onnx", artifact)


def test_the_backbones_convolutions_and_no_other_nodes_are_quantized(pair: Pair) -> None:
    before, after = onnx.load(pair.float32).graph, onnx.load(pair.int8 / "model.onnx").graph
    made_by = {name: node.op_type for node in after.node for name in node.output}
    low = [n for n in after.node if n.op_type == "Conv" and made_by.get(n.input[1]) == "DequantizeLinear"]
    # ResNet-18 to conv4, whose two blocks run their second convolution at three dilations.
    assert len(low) == 1 + 4 + 5 + (1 + 1 + 3) + (1 + 3)
    assert all(made_by[node.input[0]] == "DequantizeLinear" for node in low)
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in after.initializer if t.name.endswith("weight_quantized")}
    assert scales and max(abs(int(v)) for w in scales.values() for v in (w.min(), w.max())) <= 64  # seven bits

    part = {node.name for node in backbone(onnx.load(pair.float32)).graph.node}
    rest = [node for node in before.node if node.name not in part]
    assert len(rest) > 100 and rest == list(after.node)[-len(rest) :]
    weights = {tensor.name: tensor for tensor in after.initializer}
    used = {name for node in rest for name in node.input}
    assert all(weights[tensor.name] == tensor for tensor in before.initializer if tensor.name in used)


def test_features_and_boxes_are_near_those_of_float32(pair: Pair) -> None:
    model = onnx.load(pair.float32)
    names = [value.name for value in backbone(model).graph.output]
    low = onnx.utils.Extractor(onnx.load(pair.int8 / "model.onnx")).extract_model(["images"], names)
    sessions = [onnxruntime.InferenceSession(m.SerializeToString()) for m in (backbone(model), low)]
    expected, found = (s.run(None, {"images": CALIBRATION[0]}) for s in sessions)
    for a, b in zip(expected, found, strict=True):
        error = float(((a - b) ** 2).sum() / (a**2).sum())
        assert 0 < error < 0.05**2
    batch = frames()
    running = copy.deepcopy(OnnxRuntimeNetwork(pair.int8, pair.network))  # as EMAHook does with what it is given
    scores, close = pair.network.detect(batch).scores, running.detect(batch).scores
    torch.testing.assert_close(close[:, :5], scores[:, :5], atol=0.02, rtol=0)


def test_the_manifest_says_what_was_quantized_on_how_many_frames(pair: Pair) -> None:
    manifest = read_manifest(pair.int8)
    assert manifest["artifact"]["precision"] == "int8" and manifest["artifact"]["target"] == "onnx"
    said = manifest["quantization"]
    assert (said["part"], said["convolutions"], said["frames"]) == ("network.camera.backbone", 19, 2)


def test_an_artifact_of_other_sizes_or_damaged_is_refused(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another network"):
        OnnxRuntimeNetwork(pair.int8, network())
    running = OnnxRuntimeNetwork(pair.int8, pair.network)
    with pytest.raises(ValueError, match=r"images are \[3, 3, 32, 64\]"):
        running.detect(frames(1, cameras=3))
    damaged = tmp_path / "damaged"
    shutil.copytree(pair.int8, damaged)
    (damaged / "model.onnx").write_bytes((pair.int8 / "model.onnx").read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        OnnxRuntimeNetwork(damaged, pair.network)


def test_calibration_is_on_the_training_set_in_the_testing_pipeline(tiny_synthetic: Path) -> None:
    config = load_config(CONFIGS / "demo_camera.py")
    config.train_dataloader.dataset.ann_file = str(tiny_synthetic / "nuscenes_infos_train.json")
    images = list(calibration_images(config, ("CAM_FRONT", "CAM_BACK"), 2))
    assert [i.shape for i in images] == [(2, 3, 128, 352)] * 2 and (images[0] != images[1]).any()
    from perception.datasets.nuscenes import NuScenesFusionDataset

    train = NuScenesFusionDataset(config.train_dataloader.dataset.ann_file, config.test_pipeline, test_mode=True)
    first, front = train[0]["inputs"]["images"], train[0]["data_samples"].metainfo
    assert (images[0] == first[[sorted(front["cameras"]).index(c) for c in ("CAM_FRONT", "CAM_BACK")]].numpy()).all()
    with pytest.raises(ValueError, match=r"has 3 frames, .* on 64: .*--calibration-frames 3"):
        calibration_images(config, ("CAM_FRONT",), 64)
    with pytest.raises(ValueError, match="at least one"):
        calibration_images(config, ("CAM_FRONT",), 0)


def test_what_has_no_int8_is_refused(tmp_path: Path) -> None:
    from mmdet3d.registry import MODELS

    checkpoint, config = tmp_path / "random.pth", CONFIGS / "demo_lidar.py"
    torch.save({"state_dict": MODELS.build(load_config(config).model).state_dict()}, checkpoint)
    with pytest.raises(ValueError, match=r"demo_lidar\.py has no cameras"):
        export(config, checkpoint, tmp_path / "out", "int8", target="onnx")
    with pytest.raises(ValueError, match="int8 is for --target onnx"):
        export(config, checkpoint, tmp_path / "out", "int8")
    with pytest.raises(ValueError, match="fp32 or int8"):
        export(config, checkpoint, tmp_path / "out", "bf16", target="onnx")
    assert not (tmp_path / "out").exists()
