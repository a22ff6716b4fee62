"""The camera backbone in INT8 against float32, in ONNX Runtime: alone, and as part of the whole graph. CPU.

`ours` is INT8, `other` the same in float32 in ONNX Runtime, and for the backbone alone also PyTorch's eager network.
All see the same synthetic frame and have as many threads. Weights are random unless artifacts are given: the time does
not depend on them. Floor: multiply-adds at float32's `compute_rate`; INT8 may go below it.

python benchmarks/bench_int8.py [--fp32 DIR --int8 DIR] [--repeats 20]

The artifacts are those of tools/export.py --target onnx; without them the graph of configs/demo_fusion.py is made here,
which takes minutes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from onnx.utils import Extractor
from timing import compare, compute_rate
from torch.utils.flop_counter import FlopCounterMode

import perception.engine  # noqa: F401

# isort: split
from mmdet3d.registry import DATASETS, MODELS

from perception.datasets.nuscenes_infos import create_info_files
from perception.datasets.synthetic import VERSION, generate_dataroot
from perception.engine.export import export_spec
from perception.engine.quantize import backbone, quantize_backbone
from perception.engine.run import load_config
from perception.export.onnx import MODEL_NAME, write_onnx
from perception.export.onnx_network import OnnxNetwork, onnx_inputs
from perception.export.vehicle import VehicleNetwork

CONFIG = "configs/demo_fusion.py"


def frame_inputs(config: Any, folder: Path) -> dict[str, torch.Tensor]:
    """A frame of a small synthetic world, as VehicleNetwork takes it."""
    generate_dataroot(folder, train_scenes=0, val_scenes=1, keyframes_per_scene=2, seed=0)
    create_info_files(folder, VERSION, out=folder, progress=False)
    described = {**config.test_dataloader.dataset, "ann_file": str(folder / "nuscenes_infos_val.json")}
    inputs = DATASETS.build(described)[1]["inputs"]
    return {**inputs, "lidar_mask": inputs["lidar_mask"].reshape(1)}


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fp32", type=Path, metavar="DIR", help="artifact of configs/demo_fusion.py in float32")
    parser.add_argument("--int8", type=Path, metavar="DIR", help="the same in INT8")
    parser.add_argument("--repeats", type=int, default=20, help="runs of each (default: %(default)s)")
    args = parser.parse_args()
    if (args.fp32 is None) != (args.int8 is None):
        parser.error("--fp32 and --int8 go together")

    torch.manual_seed(0)
    config = load_config(CONFIG)
    detector = MODELS.build(config.model).eval()
    graph = OnnxNetwork(detector.network)
    with tempfile.TemporaryDirectory(prefix="bench-int8-") as work:
        given = frame_inputs(config, Path(work))
        if args.fp32 is None:
            files = [Path(work) / name for name in ("float32.onnx", "int8.onnx")]
            write_onnx(graph, export_spec(config, detector, CONFIG).shape, files[0])
            shutil.copy(files[0], files[1])
            quantize_backbone(files[1], [given["images"].numpy()])
        else:
            files = [args.fp32 / MODEL_NAME, args.int8 / MODEL_NAME]
        models = [onnx.load(str(file)) for file in files]
    part = backbone(models[0])
    features = [value.name for value in part.graph.output]
    parts = [session(part), session(Extractor(models[1]).extract_model(["images"], features))]
    wholes = [session(model) for model in models]

    images = {"images": given["images"].numpy()}
    names = VehicleNetwork(detector.network).input_names
    inputs = {k: v.numpy() for k, v in onnx_inputs(graph, {name: given[name] for name in names}).items()}
    camera = detector.network.camera

    def eager() -> object:
        x = (given["images"].float() - camera.mean) / camera.std
        return camera.backbone(x.contiguous(memory_format=torch.channels_last))

    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            eager()
        backbone_operations = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            VehicleNetwork(detector.network)(*(given[name] for name in names))
        operations = counter.get_total_flops()
        rate = compute_rate()
        share = f"{backbone_operations / 2e9:.2f} of {operations / 2e9:.2f} billion"
        print(f"{share} multiply-adds in torch's operators are the backbone's")
        float32, int8 = (lambda one=one: one.run(None, images) for one in parts)
        floor_ms = 1e3 * backbone_operations / rate
        compare("int8_backbone", int8, float32, "float32 in ONNX Runtime", floor_ms, args.repeats)
        compare("int8_backbone", int8, eager, "float32 in eager PyTorch", floor_ms, args.repeats)
        float32, int8 = (lambda one=one: one.run(None, inputs) for one in wholes)
        compare("int8_network", int8, float32, "float32 in ONNX Runtime", 1e3 * operations / rate, args.repeats)


if __name__ == "__main__":
    main()
