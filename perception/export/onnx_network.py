"""The network as an ONNX graph takes it: sparse preprocessing comes in as index tensors, the rest is dense.

The modules and weights are the network's own, but for norms that go into their convolutions. Voxels, windows and the
cells of the lift are inputs, which `onnx_inputs` makes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from perception.camera.trident import BasicBlock, Bottleneck
from perception.export.vehicle import CAMERA_INPUTS, LIDAR_INPUTS, VehicleShape, example_inputs
from perception.head.second_stage import CameraEvidence, corrected
from perception.lidar.padded_windows import PaddedWindows, bucket_sizes, pad_windows
from perception.lidar.sst import SST
from perception.model import PerceptionNetwork
from perception.ops.segment_reduce import Reduction
from perception.ops.voxelize import voxelize
from perception.ops.window_partition import window_partition

PARTITIONS = ("windows", "shifted_windows")


class OnnxNetwork(nn.Module):
    """A PerceptionNetwork for one frame, with the inputs of `input_names`:

    points [P,5] float32, point_voxel [P] int64 (-1 outside the range), coords [V,4] int32 (0,z,y,x), of each partition
    its buckets [W,S] int64 and slot [V] int64 (PaddedWindows), lidar_mask [1] bool where it has a LiDAR branch;
    images [N,3,H,W] uint8, image_from_lidar [N,4,4] float32, camera_mask [N] bool, frustum_cell [N,D,h,w] int64 where
    it has a camera branch.

    No size is zero: an empty cloud is one point of age 1 in no voxel, and one voxel at z = -1, which no map shows.

    Raises ValueError for a network that has no such graph: sparse convolutions, or token dropping at inference.
    """

    def __init__(self, network: PerceptionNetwork) -> None:
        super().__init__()
        self.network = _with_folded_norms(network)
        self.bucket_sizes: tuple[int, ...] = ()
        names: list[str] = []
        if network.lidar is not None:
            sst = network.lidar.backbone
            if not isinstance(sst, SST):
                raise ValueError("sparse convolutions have no standard operator: only networks with SST export to ONNX")
            if sst.drop is not None and sst.drop.drops(False, sst.window[0] * sst.window[1] * sst.window[2]):
                raise ValueError("token dropping at inference is random and does not export; leave `drop` out")
            self.bucket_sizes = bucket_sizes(sst.window)
            names = ["points", "point_voxel", "coords"]
            for partition in PARTITIONS:
                names += [f"{partition}_{size}" for size in self.bucket_sizes] + [f"{partition}_slot"]
            names.append("lidar_mask")
        if network.camera is not None:
            names += [*CAMERA_INPUTS, "frustum_cell"]
        self.input_names = tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """boxes [K,9] and scores [K] float32, labels [K] int64, as VehicleNetwork gives them."""
        given = dict(zip(self.input_names, inputs, strict=True))
        net, maps, present = self.network, dict[str, Tensor](), dict[str, Tensor]()
        camera = None
        if net.lidar is not None:
            maps["lidar"], present["lidar"] = self._lidar_map(given), given["lidar_mask"]
        if net.camera is not None:
            images, matrix, mask = (given[name][None] for name in CAMERA_INPUTS)
            guide = None
            if net.lidar is not None:
                points = given["points"]
                sample = torch.zeros_like(given["point_voxel"])
                size = (images.shape[-2], images.shape[-1])
                guide = net.camera.lift.measure(points, sample, matrix, size).bin
            camera = net.camera(images, matrix, mask, guide, given["frustum_cell"][None])
            maps["camera"], present["camera"] = camera.bev, mask.any(dim=1)
        bev = net.decoder(net.fuser(maps, present))
        output = net.head(bev)
        found = net.head.decode(output)
        if net.second_stage is not None:
            there = given.get("lidar_mask", torch.zeros(1, dtype=torch.bool, device=bev.device))
            shown = None
            if net.camera is not None and camera is not None and camera.semantic_logits is not None:
                stride = net.camera.lift.stride
                shown = CameraEvidence(images, camera.features, camera.semantic_logits, matrix, mask, stride)
            known = net.second_stage.evidence(found, output.heatmap, bev, net.head.grid, there, shown)
            found = corrected(found, net.second_stage(*known).by_all)
        boxes, scores, labels = found
        return boxes[0], scores[0], labels[0]

    def _lidar_map(self, given: Mapping[str, Tensor]) -> Tensor:
        assert self.network.lidar is not None and isinstance(self.network.lidar.backbone, SST)
        encoder, sst = self.network.lidar.voxel_encoder, self.network.lidar.backbone
        coords, point_voxel = given["coords"], given["point_voxel"]
        features = encoder.encode(
            given["points"], point_voxel, coords, lambda rows, how: scatter_pool(rows, point_voxel, coords, how)
        )
        partitions = tuple(
            PaddedWindows(
                tuple(given[f"{name}_{size}"] for size in self.bucket_sizes),
                given[f"{name}_slot"],
                window_position(coords, sst.grid, sst.window, name == PARTITIONS[1]),
            )
            for name in PARTITIONS
        )
        tokens = sst.attend(features, (partitions[0], partitions[1]))
        return sst.attach(scatter_to_bev(tokens, coords, sst.grid))


def _with_folded_norms(network: PerceptionNetwork) -> PerceptionNetwork:
    """A copy for inference, in which the norms behind dilated convolutions are part of them.

    The exporter folds a norm into the convolution before it; behind the concatenated branches it sees none.
    """
    network = copy.deepcopy(network).eval()
    for block in network.modules():
        if isinstance(block, (BasicBlock, Bottleneck)):
            block.conv2 = fuse_conv_bn_eval(block.conv2, block.bn2)
            block.add_module("bn2", nn.Identity())
    return network


def scatter_pool(rows: Tensor, point_voxel: Tensor, coords: Tensor, reduce: Reduction) -> Tensor:
    """rows [P,C] of points to [V,C] of voxels by scattering, V being the number of coords [V,4].

    A maximum starts at zero: the encoder takes maxima of what a ReLU passes, or passes them through one.
    """
    voxels = coords.shape[0]
    index = torch.where(point_voxel < 0, voxels, point_voxel)[:, None].expand_as(rows)
    out = rows.new_zeros((voxels + 1, rows.shape[1]))
    if reduce == "max":
        return out.scatter_reduce(0, index, rows, "amax")[:voxels]
    out = out.scatter_reduce(0, index, rows, "sum")
    if reduce == "mean":
        out = out / torch.zeros_like(out).scatter_reduce(0, index, torch.ones_like(rows), "sum").clamp(min=1.0)
    return out[:voxels]


def scatter_to_bev(tokens: Tensor, coords: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """What `sparse_to_bev` makes of one sample's tokens [V,C], [1,C*Z,Y,X]; one at z = -1 is left out."""
    depth, rows, columns = grid
    cells = depth * rows * columns
    _, z, y, x = coords.long().unbind(1)
    index = torch.where(z < 0, cells, (z * rows + y) * columns + x)[:, None].expand_as(tokens)
    bev = tokens.new_zeros((cells + 1, tokens.shape[1])).scatter(0, index, tokens)[:cells]
    return bev.view(1, depth, rows, columns, -1).permute(0, 4, 1, 2, 3).flatten(1, 2)


def window_position(coords: Tensor, grid: tuple[int, int, int], window: tuple[int, int, int], shifted: bool) -> Tensor:
    """The position [V,3] int32 of `window_partition`, (coordinate + shift) mod window."""
    shift = [0 if axis == 0 and window[0] >= grid[0] else window[axis] // 2 * shifted for axis in range(3)]
    size = torch.tensor(window, dtype=torch.int32, device=coords.device)
    return (coords[:, 1:] + torch.tensor(shift, dtype=torch.int32, device=coords.device)) % size


def onnx_inputs(network: OnnxNetwork, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The graph's inputs from those of VehicleNetwork, by name."""
    out = dict(inputs)
    lidar, camera = network.network.lidar, network.network.camera
    if lidar is not None:
        assert isinstance(lidar.backbone, SST)
        sst, grid, points = lidar.backbone, lidar.voxel_encoder.grid, inputs["points"]
        if not len(points):
            points = points.new_tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])
            out["points"] = points
        batch = torch.zeros(len(points), dtype=torch.int64)
        voxels = voxelize(points[:, :3], batch, 1, grid.range_min_m, grid.cell_m, grid.shape)
        if not len(inputs["points"]) or not len(voxels.coords):
            out["point_voxel"] = torch.full_like(voxels.point_voxel, -1)
            out["coords"] = torch.tensor([[0, -1, 0, 0]], dtype=torch.int32)
            padded = [PaddedWindows(_nothing(network.bucket_sizes), torch.zeros(1, dtype=torch.int64), batch)] * 2
        else:
            out["point_voxel"], out["coords"] = voxels.point_voxel, voxels.coords
            partitions = window_partition(voxels.coords, 1, sst.grid, sst.window)
            padded = [pad_windows(partition, network.bucket_sizes) for partition in partitions]
        for name, windows in zip(PARTITIONS, padded, strict=True):
            for size, tokens in zip(network.bucket_sizes, windows.buckets, strict=True):
                out[f"{name}_{size}"] = tokens
            out[f"{name}_slot"] = windows.slot
    if camera is not None:
        rows, columns = (n // camera.lift.stride for n in inputs["images"].shape[-2:])
        there = inputs["camera_mask"][:, None, None]
        matrix = torch.where(there, inputs["image_from_lidar"], torch.eye(4))
        out["frustum_cell"] = camera.lift.frustum_cells(matrix[None], (rows, columns))[0]
    return {name: out[name] for name in network.input_names}


def _nothing(sizes: Sequence[int]) -> tuple[Tensor, ...]:
    return tuple(torch.full((1, size), -1, dtype=torch.int64) for size in sizes)


def example_onnx_inputs(network: OnnxNetwork, shape: VehicleShape, points: int = 3000) -> dict[str, Tensor]:
    """Inputs to trace with: those of a random cloud (vehicle.example_inputs), with two windows or more in every bucket,
    since a size of one would be taken for a constant."""
    names = LIDAR_INPUTS * (network.network.lidar is not None) + CAMERA_INPUTS * (network.network.camera is not None)
    example = onnx_inputs(network, dict(zip(names, example_inputs(names, shape, points), strict=True)))
    for name, tensor in example.items():
        if "windows" in name and len(tensor) == 1:
            example[name] = tensor.repeat(2, 1)
    return example
