"""The LiDAR branch under torch.compile and torch.export: no graph break, any number of points, no hidden waiting."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder

GRID = BEVGrid((-16.0, 16.0), (-16.0, 16.0), (-5.0, 3.0), (0.5, 0.5, 8.0))


def branch() -> LidarBranch:
    torch.manual_seed(0)
    backbone = SST(16, 16, 2, 32, 1, (1, 8, 8), GRID.shape, cosine=True, conv_dilations=(1,))
    return LidarBranch(VoxelEncoder(GRID, (8, 16)), backbone).eval()


def cloud(count: int) -> tuple[Tensor, Tensor, int]:
    points = torch.rand(count, 5, generator=torch.Generator().manual_seed(count)) * torch.tensor([32, 32, 8, 255, 0.5])
    return points - torch.tensor([16, 16, 5, 0, 0.0]), torch.arange(count) % 2, 2


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_compiles_whole_and_equals_eager(training: bool) -> None:
    torch._dynamo.reset()
    eager = branch().train(training)
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, fullgraph=True, dynamic=True, backend="eager")
    for count in (3000, 1000):
        assert torch.allclose(compiled(*cloud(count)), eager(*cloud(count)), atol=1e-6)
    compiled(*cloud(1000)).square().mean().backward()
    eager(*cloud(1000)).square().mean().backward()
    for (name, ours), theirs in zip(eager.named_parameters(), twin.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None, name
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6), name


@pytest.fixture(scope="module")
def exported() -> torch.export.ExportedProgram:
    points = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        return torch.export.export(branch(), cloud(3000), dynamic_shapes=({0: points}, {0: points}, None))


@pytest.mark.parametrize("count", [0, 1, 5000, 10_000])
def test_exported_program_agrees_on_clouds_of_other_sizes(exported: Any, count: int) -> None:
    with torch.no_grad():
        assert torch.equal(exported.module()(*cloud(count)), branch()(*cloud(count)))


def nodes(module: fx.GraphModule) -> Iterator[fx.Node]:
    for child in module.modules():
        if isinstance(child, fx.GraphModule):
            yield from child.graph.nodes


def test_the_number_of_voxels_is_all_that_the_device_is_waited_for(exported: Any) -> None:
    """A size that depends on data means waiting for the device: the graph has one such size, voxelize's."""
    calls = [n for n in nodes(exported.graph_module) if isinstance(n.target, torch._ops.OpOverload)]
    names = {str(n.target) for n in calls}
    assert {"perception.voxelize.default", "perception.window_attention.default"} <= names
    waiting = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "repeat_interleave")
    assert not [name for name in names if name.split(".", 1)[1].startswith(waiting)]
    shapes = [t.shape for n in calls for t in torch.utils._pytree.tree_leaves(n.meta["val"]) if isinstance(t, Tensor)]
    assert {
        str(s)
        for shape in shapes
        for d in shape
        if isinstance(d, torch.SymInt)
        for s in d.node.expr.free_symbols
        if str(s).startswith("u")
    } == {"u0"}
