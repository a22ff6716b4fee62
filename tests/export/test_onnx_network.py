"""Padded windows and index tensors as inputs, against the network as it is: either sensor, both, and what is gone."""

import pytest
import torch
from test_model import network

from perception.export.onnx_network import OnnxNetwork, onnx_inputs, window_position
from perception.export.vehicle import VehicleNetwork, VehicleShape, example_inputs
from perception.lidar.padded_windows import bucket_sizes, pad_windows, padded_window_attention
from perception.ops.window_attention import window_attention
from perception.ops.window_partition import window_partition

SENSORS = pytest.mark.parametrize(("lidar", "camera"), [(True, True), (True, False), (False, True)])
POINTS = (0, 1, 2, 3000)


def shape_of(camera: bool) -> VehicleShape:
    return VehicleShape(2 * camera, (32 * camera, 64 * camera), 120_000)


def cases(net: VehicleNetwork, shape: VehicleShape) -> list[dict[str, torch.Tensor]]:
    """The vehicle's inputs: clouds of unusual sizes; then without a LiDAR, a camera, all cameras."""
    lidar = net.network.lidar is not None
    make = [dict(zip(net.input_names, example_inputs(net.input_names, shape, n), strict=True)) for n in POINTS]
    out = make if lidar else make[:1]
    if lidar:
        out.append({**make[0], "lidar_mask": torch.tensor([False])})
    if shape.cameras:
        for gone in ([0], [0, 1]):
            images, mask = make[-1]["images"].clone(), make[-1]["camera_mask"].clone()
            images[gone], mask[gone] = 0, False
            out.append({**make[-1], "images": images, "camera_mask": mask})
    if lidar:  # every point outside the range
        far = make[-1]["points"] + torch.tensor([1000.0, 0, 0, 0, 0])
        out.append({**make[-1], "points": far})
    return out


@SENSORS
def test_the_padded_network_is_the_network(lidar: bool, camera: bool) -> None:
    net = network(lidar, camera)
    vehicle, padded = VehicleNetwork(net), OnnxNetwork(net)
    for given in cases(vehicle, shape_of(camera)):
        with torch.no_grad():
            expected, ours = vehicle(*given.values()), padded(*onnx_inputs(padded, given).values())
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("tokens", [1, 40, 400])
def test_padded_attention_is_ragged_attention(tokens: int, cosine: bool) -> None:
    generator = torch.Generator().manual_seed(tokens)
    flat = torch.randperm(32 * 32, generator=generator)[:tokens].sort().values
    coords = torch.stack((flat * 0, flat * 0, flat // 32, flat % 32), dim=1).int()
    q, k, v = torch.randn(3, tokens, 2, 8, generator=generator).unbind()
    temperature = torch.tensor([0.1, 0.5]) if cosine else None
    window = (1, 8, 8)
    for shifted, partition in enumerate(window_partition(coords, 1, (1, 32, 32), window)):
        padded = pad_windows(partition, bucket_sizes(window))
        held = torch.cat([bucket[bucket >= 0] for bucket in padded.buckets])
        assert torch.equal(held.sort().values, torch.arange(tokens))
        ours = padded_window_attention(q, k, v, padded, 0.3, temperature)
        expected = window_attention(q, k, v, partition.order, partition.offsets, 0.3, temperature)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(window_position(coords, (1, 32, 32), window, bool(shifted)), partition.position)
