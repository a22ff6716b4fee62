"""Post-training INT8 of an ONNX graph's camera backbone: what `tools/export.py --precision int8` calls.

ONNX Runtime measures the ranges and quantizes (onnxruntime.quantization). Here are the choice of nodes and the pictures
that ranges are measured on. Only what leads from the images to the backbone's features is calibrated and quantized;
the nodes of the rest of the graph stay as they are.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.config import Config

from perception.datasets.transforms import LoadCameras

if TYPE_CHECKING:
    from onnx import ModelProto

PART = "network.camera.backbone"
IMAGES = "images"
# Convolutions, and what stands between them, so that values stay whole numbers from one to the next.
OPERATORS = ("Conv", "Relu", "Add", "MaxPool", "Concat", "Split", "Reshape")
_SCOPE = "pkg.torch.onnx.name_scopes"  # torch's exporter: the modules that a node comes from


class Calibration:
    """Images of frames, [N,3,H,W] uint8 each, as onnxruntime.quantization asks for them; `frames` counts them."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images, self.frames = iter(images), 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self._images, None)
        if images is None:
            return None
        self.frames += 1
        return {IMAGES: images}


def calibration_images(config: Config, cameras: Sequence[str], count: int) -> Iterator[np.ndarray]:
    """Images of `count` frames, evenly spread over the config's training set, by its testing pipeline: [N,3,H,W] uint8.

    Raises FileNotFoundError or ValueError where there is no such set, or it has fewer frames; at once, not when the
    images are taken.
    """
    if count < 1:
        raise ValueError(f"{count} frames to calibrate on; at least one is needed")
    train_set = config.get("train_dataloader", {}).get("dataset", {})
    while "dataset" in train_set:
        train_set = train_set.dataset
    if "ann_file" not in train_set:
        raise ValueError("the config has no training set with an ann_file; INT8 is calibrated on its frames")
    samples = DATASETS.build({**config.test_dataloader.dataset, "ann_file": train_set.ann_file})
    if len(samples) < count:
        raise ValueError(
            f"{train_set.ann_file} has {len(samples)} frames, INT8 is to be calibrated on {count}: take more data, or "
            f"--calibration-frames {len(samples)}"
        )
    for step in samples.pipeline.transforms:
        if isinstance(step, LoadCameras):
            step.cameras = list(cameras)
    chosen = np.linspace(0, len(samples) - 1, count).round().astype(int)
    return (samples[int(index)]["inputs"][IMAGES].numpy() for index in chosen)


def quantize_backbone(path: Path, images: Iterable[np.ndarray]) -> dict[str, Any]:
    """Quantize the camera backbone of the graph in `path`, which is replaced. Returns what the manifest says of it.

    Activations are uint8, weights int8 per output channel of seven bits: without VNNI the products of eight bits and
    eight may saturate their 16-bit sums.

    Raises ValueError for a graph without a camera backbone.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(str(path))
    part, calibration = backbone(model), Calibration(images)
    with tempfile.TemporaryDirectory(prefix="quantize-") as work:
        file = Path(work) / "part.onnx"
        quantize_static(
            part,
            file,
            calibration,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        quantized = onnx.load(str(file))
    onnx.save(_replaced(model, part, quantized), str(path))
    return {
        "part": PART,
        "convolutions": sum(node.op_type == "Conv" for node in quantized.graph.node),
        "activations": "uint8",
        "weights": "int8 per output channel, seven bits",
        "ranges": "smallest and largest value",
        "frames": calibration.frames,
    }


def backbone(model: ModelProto) -> ModelProto:
    """The part of a float graph from its images to the camera backbone's features, as a model of its own.

    Raises ValueError where there is none.
    """
    from onnx.utils import Extractor

    users = defaultdict(list)
    for index, node in enumerate(model.graph.node):
        for name in node.input:
            users[name].append(index)
    inside = {index for index, node in enumerate(model.graph.node) if f"'{PART}'" in _scope(node)}
    if not inside:
        raise ValueError("the graph has no camera backbone to quantize")
    # What the exporter made itself is of no module: it belongs to where all of its results go.
    for index, node in enumerate(model.graph.node):
        if not _scope(node) and {user for name in node.output for user in users[name]} <= inside:
            inside.add(index)
    produced = [name for index in sorted(inside) for name in model.graph.node[index].output]
    features = [name for name in produced if not set(users[name]) <= inside]
    return Extractor(model).extract_model([IMAGES], features)


def _scope(node: Any) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == _SCOPE), "")


def _replaced(model: ModelProto, part: ModelProto, quantized: ModelProto) -> ModelProto:
    """The model with its nodes of `part` replaced by those of `quantized`, which has the same inputs and outputs.

    They come first: they depend on the images alone.
    """
    gone = {name for node in part.graph.node for name in node.output}
    rest = [node for node in model.graph.node if node.output[0] not in gone]
    used = {name for node in rest for name in node.input}
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in used}
    weights.update({tensor.name: tensor for tensor in quantized.graph.initializer})
    made = {name for node in (*quantized.graph.node, *rest) for name in node.output}
    shapes = [value for value in model.graph.value_info if value.name in made]
    for field, content in (
        ("node", [*quantized.graph.node, *rest]),
        ("initializer", weights.values()),
        ("value_info", shapes),
    ):
        kept = list(content)
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(kept)
    return model
