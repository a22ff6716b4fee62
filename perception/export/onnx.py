"""The network as ONNX, in standard operators alone.

The kernels that remain in the traced graph (perception.* operators) are replaced by what they compute in torch's own
operators, which torch's exporter knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from perception.export.folder import new_artifact
from perception.export.manifest import MANIFEST_NAME, ExportSpec, input_entry, manifest_of
from perception.export.onnx_network import OnnxNetwork, example_onnx_inputs
from perception.export.vehicle import CAMERA_INPUTS, LIDAR_INPUTS, VehicleNetwork, VehicleShape
from perception.model import PerceptionNetwork

OPSET = 18
MODEL_NAME = "model.onnx"
OUTPUT_NAMES = ("boxes", "scores", "labels")


def write_onnx_artifact(
    network: PerceptionNetwork,
    spec: ExportSpec,
    out: str | Path,
    check: Callable[[Path], None],
    quantize: Callable[[Path], dict[str, Any]] | None = None,
) -> Path:
    """Write out/model.onnx and out/manifest.json; returns `out`.

    `quantize` replaces the float32 model file by one in INT8 and returns what the manifest says of that. `check` is
    given the file and raises where it is not as it should be; nothing is written then. An artifact that is there
    already is replaced.

    Raises FileExistsError when `out` exists and is no artifact; ValueError for a network without such a graph.
    """
    out, graph = Path(out), OnnxNetwork(network)
    with new_artifact(out) as folder:
        model = folder / MODEL_NAME
        write_onnx(graph, spec.shape, model)
        quantization = {} if quantize is None else {"quantization": quantize(model)}
        check(model)
        precision = "int8" if quantization else "fp32"
        manifest = manifest_of(VehicleNetwork(network), spec, model, precision, "onnx", input_entries(graph, spec))
        manifest |= quantization
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return out


def input_entries(graph: OnnxNetwork, spec: ExportSpec) -> list[dict[str, Any]]:
    """What the manifest says of the graph's inputs; a dimension that is free has a name and bounds."""
    points = {"dim": "points", "min": 1, "max": spec.max_points}
    voxels = {"dim": "voxels", "min": 1, "max": spec.max_points}
    example = example_onnx_inputs(graph, spec.shape, min(100, spec.max_points))
    entries = []
    for name, tensor in example.items():
        shape: list[Any] = list(tensor.shape)
        if "windows" in name and not name.endswith("_slot"):
            shape[0] = {"dim": name, "min": 1, "max": spec.max_points}
        elif name in ("points", "point_voxel"):
            shape[0] = points
        elif name == "coords" or name.endswith("_slot"):
            shape[0] = voxels
        known = name in LIDAR_INPUTS + CAMERA_INPUTS
        entry = input_entry(name, spec) if known else {"name": name, "meaning": _meaning(name)}
        entries.append({**entry, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape})
    return entries


def _meaning(name: str) -> str:
    if name.endswith("_slot"):
        return "place of each voxel in this partition's buckets, laid one after the other in ascending size"
    return {
        "point_voxel": "voxel of each point, -1 outside the range",
        "coords": "0 z y x of each voxel, ascending; z is -1 for the one that stands for an empty cloud",
        "frustum_cell": "bird's-eye-view cell of each camera, depth bin and feature cell, -1 outside the grid",
    }.get(name, "voxels of each window that fits this bucket and no smaller one, -1 where there is none")


def write_onnx(network: OnnxNetwork, shape: VehicleShape, path: Path) -> None:
    """Trace the network, which is put into evaluation mode, and write the graph with its weights to `path`."""
    program = traced(network, shape)
    made = torch.onnx.export(
        program, input_names=network.input_names, output_names=OUTPUT_NAMES, opset_version=OPSET, verbose=False
    )
    assert made is not None
    made.save(path, external_data=False)


def traced(network: OnnxNetwork, shape: VehicleShape) -> ExportedProgram:
    """The graph before it is ONNX: no perception operator is left in it."""
    example = example_onnx_inputs(network.eval(), shape)
    dynamic = tuple(_dynamic(name) for name in network.input_names)
    with torch.no_grad():
        program = torch.export.export(network, tuple(example.values()), dynamic_shapes={"inputs": dynamic})
        return program.run_decompositions(_decompositions(network))


def _dynamic(name: str) -> dict[int, Any] | None:
    """What is free: points, voxels and the windows of every bucket."""
    free = {"points": "points", "point_voxel": "points", "coords": "voxels"}
    if name in free:
        return {0: Dim(free[name], min=1)}
    if name.endswith("_slot"):
        return {0: Dim("voxels", min=1)}
    return {0: Dim(name, min=1)} if "windows" in name else None


def _decompositions(network: OnnxNetwork) -> dict[Any, Callable[..., Any]]:
    ops, camera = torch.ops.perception, network.network.camera
    branches = camera.lift.choice.branches if camera is not None and camera.lift.choice is not None else 1
    return {
        ops.fused_linear.default: _fused_linear,
        ops.pool_index.default: _pool_index,
        ops.bev_pool.default: partial(_bev_pool, branches),
    }


def _fused_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gelu: bool,
    residual: Tensor | None,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    norm_eps: float,
) -> Tensor:
    y = F.linear(x, weight, bias)
    if gelu:
        y = F.gelu(y)
    if residual is not None:
        y = residual + y
    return y if norm_weight is None else F.layer_norm(y, y.shape[-1:], norm_weight, norm_bias, norm_eps)


def _pool_index(cell: Tensor, num_cells: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the index, `_bev_pool` reads the cells and the number of offsets."""
    unused = cell.new_zeros(cell.numel(), dtype=torch.int32)
    return unused, unused.clone(), cell.new_zeros(num_cells + 1, dtype=torch.int32), cell.to(torch.int32)


def _bev_pool(
    branches: int, features: Tensor, depth: Tensor, point: Tensor, pixel: Tensor, offsets: Tensor, cell: Tensor
) -> Tensor:
    """The branches, which come as further views of the same rays (repeat_views), are summed before they are scattered:
    a scatter costs by the element."""
    cells, views = offsets.shape[0] - 1, len(features) // branches
    weights = depth.unflatten(0, (branches, views)).permute(1, 3, 4, 2, 0)  # [N,h,w,D,R]
    frustum = (weights @ features.unflatten(0, (branches, views)).permute(1, 2, 3, 0, 4)).flatten(0, 3)
    own = cell[:views].permute(0, 2, 3, 1).flatten()
    index = torch.where(own < 0, cells, own).long()[:, None].expand_as(frustum)
    return features.new_zeros((cells + 1, features.shape[3])).scatter_add(0, index, frustum)[:cells]
