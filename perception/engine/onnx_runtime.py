"""An ONNX artifact in ONNX Runtime, so that it is scored as the network that it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from perception.export.manifest import file_sha256, grid_entry, read_manifest
from perception.export.onnx_network import OnnxNetwork, onnx_inputs
from perception.export.vehicle import VehicleNetwork
from perception.head.center_head import Detections
from perception.model import Frames, PerceptionNetwork


class OnnxRuntimeNetwork(nn.Module):
    """Stands in for a PerceptionNetwork where that only detects; on the CPU, with as many threads as torch has.

    Args:
        artifact: folder that tools/export.py --target onnx wrote.
        network: the network of the artifact's config; its sizes count, its weights do not.

    Raises FileNotFoundError or ValueError naming the artifact: none there, of another target, damaged, or of a network
    of other sizes; ImportError without onnxruntime.
    """

    def __init__(self, artifact: str | Path, network: PerceptionNetwork) -> None:
        super().__init__()
        manifest = read_manifest(artifact)
        if manifest["artifact"]["target"] != "onnx":
            raise ValueError(f"{artifact} is an artifact of target {manifest['artifact']['target']}, not onnx")
        model = Path(artifact) / manifest["artifact"]["file"]
        if file_sha256(model) != manifest["artifact"]["sha256"]:
            raise ValueError(f"{model} is not what its manifest says: it is damaged; export again")
        self._graph, self._names = OnnxNetwork(network), VehicleNetwork(network).input_names
        inputs = {entry["name"]: entry["shape"] for entry in manifest["inputs"]}
        if tuple(inputs) != self._graph.input_names or manifest["grid"] != grid_entry(network):
            raise ValueError(f"{artifact} is of another network than the config's: export again, or take its config")
        self._images = inputs.get("images")
        self._artifact = artifact
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"{artifact} runs in onnxruntime: pip install 'perception[onnx]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxRuntimeNetwork:
        """Itself: a session cannot be copied, and nothing here changes. EMAHook copies the model that it averages."""
        return self

    @torch.no_grad()
    def detect(self, frames: Frames) -> Detections:
        """Boxes of every sample, by descending score.

        Raises ValueError for images of another number or size than the artifact's.
        """
        size = list(frames.images.shape[1:])
        if self._images is not None and size != self._images:
            raise ValueError(f"images are {size} [N,3,H,W], {self._artifact} is for {self._images}")
        found = [self._detect(frames, sample) for sample in range(len(frames.lidar_mask))]
        return Detections(*(torch.stack(part) for part in zip(*found, strict=True)))

    def _detect(self, frames: Frames, sample: int) -> list[torch.Tensor]:
        """boxes [K,9], scores [K], labels [K] of one sample."""
        given = {
            "points": frames.points[frames.point_batch == sample],
            "lidar_mask": frames.lidar_mask[sample : sample + 1],
            "images": frames.images[sample],
            "image_from_lidar": frames.image_from_lidar[sample],
            "camera_mask": frames.camera_mask[sample],
        }
        inputs = onnx_inputs(self._graph, {name: given[name].cpu() for name in self._names})
        outputs = self._session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return [torch.from_numpy(output) for output in outputs]
