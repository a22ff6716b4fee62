"""The ONNX graph in ONNX Runtime against the network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_model import network
from test_onnx_network import SENSORS, cases, shape_of

from perception.export.onnx import OPSET, write_onnx
from perception.export.onnx_network import OnnxNetwork, onnx_inputs
from perception.export.vehicle import VehicleNetwork


@SENSORS
def test_onnx_runtime_computes_the_network(lidar: bool, camera: bool, tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    net, shape = network(lidar, camera), shape_of(camera)
    vehicle, padded, path = VehicleNetwork(net), OnnxNetwork(net), tmp_path / "model.onnx"
    write_onnx(padded, shape, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert not model.functions and all(node.domain == "" for node in model.graph.node)
    session = onnxruntime.InferenceSession(str(path))
    for given in cases(vehicle, shape):
        with torch.no_grad():
            expected = vehicle(*given.values())
        feed: dict[str, Any] = {name: tensor.numpy() for name, tensor in onnx_inputs(padded, given).items()}
        found = rows(*(torch.from_numpy(output) for output in session.run(None, feed)))
        # Where several scores are equal their order is open: every box has its mate of the same class.
        gap = (found[:, None] - rows(*expected)).abs().amax(dim=-1)
        assert gap.shape[0] == gap.shape[1] > 0
        assert gap.amin(dim=1).max() < 1e-3 and gap.argmin(dim=1).unique().numel() == len(gap)


def rows(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Box, score and label of what was not suppressed, [K,11]."""
    return torch.cat((boxes, scores[:, None], labels[:, None].float()), dim=1)[scores > 0]
