"""Official SST checkpoints: the voxel encoder against the official arithmetic, names, and the tool's answers."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from perception.engine.convert_sst import PREFIX, convert_sst
from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "convert_checkpoint.py"
GRID = BEVGrid((-2.0, 10.0), (-6.0, 6.0), (-3.0, 1.0), (1.0, 0.5, 4.0))
CONFIG = f"""
from perception.geometry.grid import BEVGrid
from perception.lidar.branch import LidarBranch
from perception.lidar.sst import SST
from perception.lidar.voxel_encoder import VoxelEncoder

grid = dict(
    type=BEVGrid, x_range_m={GRID.x_range_m}, y_range_m={GRID.y_range_m}, z_range_m={GRID.z_range_m},
    cell_m={GRID.cell_m},
)
model = dict(network=dict(lidar=dict(
    type=LidarBranch,
    voxel_encoder=dict(type=VoxelEncoder, grid=grid, channels=(8, 16)),
    backbone=dict(type=SST, in_channels=16, channels=16, heads=2, hidden=32, blocks=1, window=(1, 4, 4),
                  grid={GRID.shape}, conv_dilations=(1,)),
)))
"""


def branch() -> LidarBranch:
    torch.manual_seed(0)
    sst = SST(16, 16, 2, 32, 1, (1, 4, 4), GRID.shape, conv_dilations=(1,))
    return LidarBranch(VoxelEncoder(GRID, (8, 16)), sst).eval()


def official(point_features: int) -> dict[str, Tensor]:
    """Random weights of an official detector that takes so many features of a point, with a head."""
    torch.manual_seed(1)
    state = {}
    for name, value in branch().state_dict().items():
        random = torch.rand_like(value) + 0.5 if value.is_floating_point() else value
        state[name] = random if "norm" in name or ".1." in name else value.clone()
    state["voxel_encoder.vfe_layers.0.linear.weight"] = torch.randn(8, point_features + 6) / 10
    return {**state, "bbox_head.conv_cls.weight": torch.ones(2, 2), "neck.deblocks.0.0.weight": torch.ones(2, 2)}


def cloud(count: int) -> Tensor:
    points = torch.rand(count, 5, generator=torch.Generator().manual_seed(2)) * torch.tensor([12, 12, 4, 255, 0.5])
    return points + torch.tensor([-2.0, -6, -3, 0, 0])


def official_encoder(state: dict[str, Tensor], features: Tensor, points: Tensor) -> dict[tuple[int, int], Tensor]:
    """DynamicVFE on raw features [P,n]: beside them a point's offsets, in metres, from its voxel's mean and centre."""
    cells: dict[tuple[int, int], list[int]] = {}
    for i, (x, y) in enumerate(points[:, :2].tolist()):
        cells.setdefault((int((y + 6) // 0.5), int((x + 2) // 1)), []).append(i)
    out = {}
    for (row, column), index in cells.items():
        xyz = points[index, :3]
        centre = torch.tensor([-2 + column + 0.5, -6 + (row + 0.5) / 2, -1.0])
        x = torch.cat((features[index], xyz - xyz.mean(0), xyz - centre), 1).double()
        for layer in range(2):
            weight, scale, bias, mean, var = (
                state[f"voxel_encoder.vfe_layers.{layer}.{name}"].double()
                for name in ("linear.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
            )
            x = ((x @ weight.T - mean) / (var + 1e-3).sqrt() * scale + bias).relu()
            pooled = x.amax(0)
            x = torch.cat((x, pooled.expand_as(x)), 1)
        out[row, column] = pooled
    return out


@pytest.mark.parametrize(
    ("names", "max_intensity"),
    [
        ("x,y,z", 255.0),
        ("x,y,z,intensity", 255.0),
        ("x,y,z,intensity,age", 1.0),
        ("age,z,x,y", 255.0),
        ("x,y,z,intensity,elongation", 100.0),
    ],
)
def test_voxel_encoder_equals_the_official_arithmetic(names: str, max_intensity: float) -> None:
    columns = names.split(",")
    state, points = official(len(columns)), cloud(300)
    values = dict(zip(("x", "y", "z", "intensity", "age"), points.unbind(1), strict=True))
    values["intensity"] = values["intensity"] / 255 * max_intensity
    values["elongation"] = torch.zeros(len(points))
    expected = official_encoder(state, torch.stack([values[name] for name in columns], 1), points)

    net = branch()
    default = names in ("x,y,z", "x,y,z,intensity")
    done = convert_sst(state, net, drop=("bbox_head", "neck"), points=None if default else columns,
                       max_intensity=max_intensity)  # fmt: skip
    net.load_state_dict({name.removeprefix(PREFIX): value for name, value in done.state.items()}, strict=True)
    features, coords = net.voxel_encoder(points, torch.zeros(300, dtype=torch.long), 1)
    twin = torch.stack([expected[row, column] for _, _, row, column in coords.tolist()])
    assert len(expected) == len(features)
    assert (features.double() - twin).abs().max() <= 1e-4 * twin.abs().max()
    assert ("elongation" in names) == any("elongation" in note for note in done.notes)


def test_names_with_a_prefix_and_of_conv_modules() -> None:
    state = {name.replace("conv_layer.0.0.", "conv_layer.0.conv.").replace("conv_layer.0.1.", "conv_layer.0.bn."): value
             for name, value in official(4).items()}  # fmt: skip
    done = convert_sst({f"module.{name}": value for name, value in state.items()}, branch(), "module.", ("bbox_head",))
    own = branch().state_dict()
    assert done.state.keys() == {PREFIX + name for name in own}
    assert torch.equal(
        done.state[PREFIX + "backbone.conv_layer.0.1.running_var"], state["backbone.conv_layer.0.bn.running_var"]
    )
    assert done.dropped == ["bbox_head.conv_cls.weight"]
    assert done.left_over == ["neck.deblocks.0.0.weight"]


def test_another_network_is_named() -> None:
    state = official(4)
    with pytest.raises(ValueError, match="--config"):
        convert_sst(state)
    with pytest.raises(ValueError, match=r"--points x,y,z,intensity,elongation"):
        convert_sst(official(5), branch())
    with pytest.raises(ValueError, match="4 features of a point"):
        convert_sst(state, branch(), points=("x", "y", "z"))
    with pytest.raises(ValueError, match="no roi_head to drop"):
        convert_sst(state, branch(), drop=("roi_head",))
    with pytest.raises(ValueError, match="--prefix"):
        convert_sst({f"student.{name}": value for name, value in state.items()})
    name = "backbone.block_list.0.encoder_list.0.linear1.weight"
    with pytest.raises(ValueError, match=r"1 not in the checkpoint, first backbone.block_list"):
        convert_sst({n: v for n, v in state.items() if n != name}, branch())
    with pytest.raises(ValueError, match="1 not in the config"):
        convert_sst({**state, "backbone.linear0.weight": torch.ones(1)}, branch())
    with pytest.raises(ValueError, match=r"1 of other shape, .*\(3, 3\), not \(32, 16\)"):
        convert_sst({**state, name: torch.ones(3, 3)}, branch())


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert_checkpoint", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tool_writes_what_the_config_loads(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out, config = tmp_path / "epoch_12.pth", tmp_path / "new" / "sst.pth", tmp_path / "config.py"
    torch.save({"state_dict": official(4), "meta": {"epoch": 12}, "optimizer": {"state": {}}}, source)
    config.write_text(CONFIG)
    command = ["sst", str(source), str(out), "--config", str(config), "--drop", "bbox_head"]
    assert tool.main(command) == 1
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "left over: neck.deblocks.0.0.weight"
    assert shown[1].startswith("convert_checkpoint: error: 1 weights have no place in ours, of neck")
    assert not out.exists()
    assert tool.main([*command, "--allow-left-over"]) == 0
    assert "1 dropped, 1 left over" in capsys.readouterr().out
    written = torch.load(out, weights_only=True)
    assert written["meta"]["converted_from"] == "epoch_12.pth"
    branch().load_state_dict({name.removeprefix(PREFIX): value for name, value in written["state_dict"].items()})
    assert [path.name for path in out.parent.iterdir()] == ["sst.pth"]


class Anything:
    """A class that the weights-only loader knows nothing of."""


@pytest.mark.parametrize("kind", ["missing", "damaged", "pickle", "empty"])
def test_tool_says_what_is_wrong_in_one_line(
    tool: ModuleType, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.pth"
    if kind == "damaged":
        path.write_bytes(b"not a checkpoint")
    if kind in ("pickle", "empty"):
        torch.save({"state_dict": {}, "meta": Anything() if kind == "pickle" else None}, path)
    assert tool.main(["sst", str(path), str(tmp_path / "out.pth")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("convert_checkpoint: error: checkpoint ") and "in.pth" in line
    assert kind != "pickle" or "torch.save" in line


def test_help_waits_for_nothing() -> None:
    code = f"""
import runpy, sys
sys.argv = ["convert_checkpoint", "sst", "--help"]
try:
    runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
finally:
    assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--max-intensity" in done.stdout
