"""Weights of the official SST code (tusen-ai/SST: SSTv2 with BasicShiftBlockV2, DynamicVFE) as our LiDAR branch's.

The backbone keeps its names. The voxel encoder does, too, but its first layer sees other features: the official one
takes points and offsets in metres, ours takes them scaled to about one (VoxelEncoder), in another number. The scaling
goes into that layer's weights and its norm's running mean, so that the outputs stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from perception.engine.build import build
from perception.engine.convert import Conversion, modules, split_dropped
from perception.engine.run import load_config
from perception.lidar.branch import LidarBranch
from perception.lidar.voxel_encoder import MAX_INTENSITY, POINT_CHANNELS, VoxelEncoder

PREFIX = "network.lidar."  # of the LiDAR branch in a FusionDetector
POINT_NAMES = ("x", "y", "z", "intensity", "age")
UNKNOWN_NAMES = ("elongation",)  # what official networks saw of a point and ours do not

_NORM = r"(?:weight|bias|running_mean|running_var|num_batches_tracked)"
_BACKBONE = (
    r"linear0\.(?:weight|bias)",
    r"block_list\.\d+\.encoder_list\.[01]\.win_attn\.self_attn\.(?:in_proj_weight|in_proj_bias|tau)",
    r"block_list\.\d+\.encoder_list\.[01]\.win_attn\.self_attn\.out_proj\.(?:weight|bias)",
    r"block_list\.\d+\.encoder_list\.[01]\.(?:linear[12]|norm[12])\.(?:weight|bias)",
    r"conv_layer\.\d+\.0\.weight",
    rf"conv_layer\.\d+\.1\.{_NORM}",
)
_VOXEL_ENCODER = (r"vfe_layers\.\d+\.linear\.weight", rf"vfe_layers\.\d+\.norm\.{_NORM}")
_RECOGNISED = re.compile(f"backbone\\.(?:{'|'.join(_BACKBONE)})|voxel_encoder\\.(?:{'|'.join(_VOXEL_ENCODER)})")
_BACKBONE_MODULES = ("linear0.", "block_list.", "conv_layer.")
_CONV_MODULE = {"conv": "0", "bn": "1", "norm": "1"}  # mmcv's ConvModule in place of a Sequential


def convert_sst(
    state: Mapping[str, Tensor],
    branch: LidarBranch | None = None,
    prefix: str = "",
    drop: Sequence[str] = (),
    points: Sequence[str] | None = None,
    max_intensity: float = MAX_INTENSITY,
) -> Conversion:
    """Weights of an official SST detector, or of its bare backbone, under our names.

    Args:
        state: the official weights.
        branch: the LiDAR branch that they are for; its names and shapes are checked, and its grid says how the voxel
            encoder's features are scaled. Without it a voxel encoder cannot be converted.
        prefix: what stands before "backbone." and "voxel_encoder.", such as "module.".
        drop: modules to leave out, such as "bbox_head".
        points: names of the official network's point features, in its order: x, y, z, then intensity, age or
            elongation. None when they are x y z or x y z intensity.
        max_intensity: the intensity that the official network was given where ours is 255.

    Raises:
        ValueError: a voxel encoder without a branch, point features that are unknown or do not fit, a module to drop
            that is not there, nothing to convert, or weights that are not the branch's; names the first of each kind.
    """
    if prefix:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    if not any(name.startswith(("backbone.", "voxel_encoder.")) for name in state):
        state = {f"backbone.{name}" if name.startswith(_BACKBONE_MODULES) else name: v for name, v in state.items()}
    state, dropped = split_dropped(state, drop)
    out = Conversion(dropped=dropped)
    for name, value in state.items():
        ours = _our_name(name)
        if ours is None:
            out.left_over.append(name)
        else:
            out.state[ours] = value
    if not out.state:
        raise ValueError(
            f"no weight of an SST backbone or voxel encoder among {', '.join(modules(state)) or 'none'}: "
            "name what stands before 'backbone.' with --prefix"
        )
    if any(name.startswith("voxel_encoder.") for name in out.state):
        if branch is None:
            raise ValueError(
                "the voxel encoder's first layer depends on the grid: name the config that has it with --config, or "
                "leave the voxel encoder out with --drop voxel_encoder"
            )
        _scale_points(out, branch.voxel_encoder, points, max_intensity)
    if branch is not None:
        _check(out, branch)
    out.state = {PREFIX + name: value for name, value in out.state.items()}
    return out


def _our_name(name: str) -> str | None:
    name = re.sub(
        r"^(backbone\.conv_layer\.\d+\.)(conv|bn|norm)\.", lambda found: f"{found[1]}{_CONV_MODULE[found[2]]}.", name
    )
    return name if _RECOGNISED.fullmatch(name) else None


def _scale_points(out: Conversion, encoder: VoxelEncoder, points: Sequence[str] | None, max_intensity: float) -> None:
    """Make the first layer take our features: W x = sum of W[:, i] (factor_i ours_i + shift_i).

    The shifts are constant, so W shift goes into the norm's running mean.
    """
    weight_name, mean_name = (f"voxel_encoder.vfe_layers.0.{n}" for n in ("linear.weight", "norm.running_mean"))
    weight, mean = out.state[weight_name].double(), out.state[mean_name].double()
    count = weight.shape[1] - 6  # beside the offsets from the points' mean and from the voxel's centre
    if points is None:
        if count not in (3, 4):
            raise ValueError(
                f"the voxel encoder takes {weight.shape[1]} features, six of them offsets: name the other {count} with "
                f"--points, such as --points {','.join((*POINT_NAMES[:4], *UNKNOWN_NAMES))}"
            )
        points = POINT_NAMES[:count]
    if len(points) != count or len(set(points)) != count or set(points) - {*POINT_NAMES, *UNKNOWN_NAMES}:
        raise ValueError(
            f"the voxel encoder takes {count} features of a point beside six offsets; got {', '.join(points)} of "
            f"{', '.join((*POINT_NAMES, *UNKNOWN_NAMES))}"
        )
    factor = encoder.point_scale.double().clone()
    factor[POINT_NAMES.index("intensity")] = max_intensity
    shift = encoder.point_centre.double()
    ours = torch.zeros(weight.shape[0], POINT_CHANNELS + 6, dtype=torch.float64)
    for column, name in enumerate(points):
        if name in UNKNOWN_NAMES:
            out.notes.append(f"our points have no {name}: the network will see 0 in its place")
            continue
        ours[:, POINT_NAMES.index(name)] = weight[:, column] * factor[POINT_NAMES.index(name)]
        mean = mean - weight[:, column] * shift[POINT_NAMES.index(name)]
    ours[:, POINT_CHANNELS:] = weight[:, count:] * encoder.cell.double().repeat(2)
    out.state[weight_name], out.state[mean_name] = ours.float(), mean.float()


def _check(out: Conversion, branch: LidarBranch) -> None:
    """Raise when a converted module is not the branch's; note the one that the checkpoint does not hold."""
    own = branch.state_dict()
    present = modules(out.state)
    for module in ("voxel_encoder", "backbone"):
        if module not in present:
            out.notes.append(f"the checkpoint has no {module}: it keeps what it is initialised with")
    missing = [name for name in own if name not in out.state and name.partition(".")[0] in present]
    unexpected = [name for name in out.state if name not in own]
    shapes = [name for name, value in out.state.items() if name in own and own[name].shape != value.shape]
    for names, what in (
        (missing, "not in the checkpoint"),
        (unexpected, "not in the config"),
        (shapes, "of other shape"),
    ):
        if names:
            theirs = (
                f" ({tuple(out.state[names[0]].shape)}, not {tuple(own[names[0]].shape)})" if names is shapes else ""
            )
            raise ValueError(
                f"the config's LiDAR branch is another network: {len(names)} {what}, first {names[0]}{theirs}"
            )


def lidar_branch(config: str | Path) -> LidarBranch:
    """The LiDAR branch of one of our configs, with initial weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the config's network has no LiDAR branch.
    """
    lidar = load_config(config).model.network.lidar
    if lidar is None:
        raise ValueError(f"config {config} has no LiDAR branch")
    branch: LidarBranch = build(lidar)
    return branch
