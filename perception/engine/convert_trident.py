"""ResNet and TridentNet weights of mmdet, mmpretrain and torchvision as ours.

All three name a ResNet's weights alike, and the branches of a trident block share them, so names stay: what changes is
where the network holds its ResNet, and that conv5 (`layer4`) may belong to the second stage's head.
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

SHARED_HEAD = "roi_head.shared_head."  # conv5 as mmdet's second stage on conv4 holds it
_RESNET = re.compile(r"(?:backbone\.)?((?:conv1|bn1|layer[1-4])\..+)")
_CLASSIFIER = re.compile(r"(?:head\.)?fc\.(?:weight|bias)")


def convert_trident(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    backbone: str,
    prefix: str = "",
    drop: Sequence[str] = (),
) -> Conversion:
    """Weights of a ResNet classifier, or of a detector of mmdet, under our names.

    Args:
        state: the foreign weights.
        target: the state dict of the network that they are for; names and shapes are checked.
        backbone: what stands before its ResNet's names, such as "backbone.".
        prefix: what stands before the foreign names, such as "module.".
        drop: modules to leave out, such as "roi_head.bbox_head".

    A classifier's last layer is dropped, and so is its conv5 where the network has none. Counters of batch norms that
    old files lack are filled in as 0.

    Raises:
        ValueError: a module to drop that is not there, no ResNet to convert, or weights of another shape or depth;
            names the first of each kind.
    """
    if prefix:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    state, dropped = split_dropped(state, drop)
    out = Conversion(dropped=dropped)
    for name, value in state.items():
        ours = _our_name(name, target, backbone)
        if ours in target:
            out.state[ours] = value
        elif _CLASSIFIER.fullmatch(name):
            out.dropped.append(name)
        elif (found := _RESNET.fullmatch(name)) and found[1].startswith("layer4."):
            out.dropped.append(name)
            if not any("conv5" in note for note in out.notes):
                out.notes.append("the network has no conv5: layer4 is left out")
        else:
            out.left_over.append(name)
    if not any(name.startswith(backbone) for name in out.state):
        raise ValueError(
            f"no weight of a ResNet among {', '.join(modules(state)) or 'none'}: name what stands before 'backbone.' "
            "or 'conv1.' with --prefix"
        )
    _check(out, target, backbone)
    return out


def _our_name(name: str, target: Mapping[str, Tensor], backbone: str) -> str:
    found = _RESNET.fullmatch(name)
    if found is None:
        return name
    own = backbone + found[1]
    return own if own in target else SHARED_HEAD + found[1]


def _check(out: Conversion, target: Mapping[str, Tensor], backbone: str) -> None:
    """Raise when a part that the checkpoint holds is not whole, or not the network's; note what it does not hold."""
    parts = list(dict.fromkeys(_part(name, backbone) for name in target))
    present = {_part(name, backbone) for name in out.state}
    for part in parts:
        if part not in present:
            out.notes.append(f"the checkpoint has no {part}: it keeps what it is initialised with")
    missing = [name for name in target if _part(name, backbone) in present and name not in out.state]
    counters = [name for name in missing if name.endswith(".num_batches_tracked")]
    for name in counters:
        out.state[name] = torch.zeros((), dtype=torch.long)
    missing = [name for name in missing if name not in out.state]
    shapes = [name for name, value in out.state.items() if target[name].shape != value.shape]
    if missing:
        raise ValueError(
            f"the checkpoint is of another network: it lacks {len(missing)} weights of the config's, first {missing[0]}"
        )
    if shapes:
        name, own = shapes[0], tuple(target[shapes[0]].shape)
        raise ValueError(
            f"{len(shapes)} weights are of another shape, first {name} ({tuple(out.state[name].shape)}, and the "
            f"config's {own}): use the config of its depth and classes, or leave a module out with --drop"
        )


def _part(name: str, backbone: str) -> str:
    """The part of the network that is converted whole or not at all."""
    if name.startswith(backbone):
        return backbone.rstrip(".")
    pieces = name.split(".")
    return ".".join(pieces[: 2 if pieces[0] == "roi_head" else 1])


def trident_target(config: str | Path) -> tuple[dict[str, Tensor], str]:
    """The state dict that a config's network takes, and what stands before its ResNet's names in it.

    Of a 2D detector the whole; of a network in bird's-eye view its camera backbone alone. The tensors are on torch's
    meta device: they have shapes and hold nothing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the config has no camera.
    """
    model = load_config(config).model
    if "network" in model:
        if model.network.get("camera") is None:
            raise ValueError(f"config {config} has no camera branch")
        prefix = "network.camera.backbone."
        with torch.device("meta"):
            own = build(model.network.camera.backbone).state_dict()
        return {prefix + name: value for name, value in own.items()}, prefix
    from mmdet.registry import MODELS

    with torch.device("meta"):
        return dict(MODELS.build(model).state_dict()), "backbone."
