"""Checkpoints of other projects as ours: reading them safely, and writing what came out. One module per project maps
the names (`convert_sst`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from perception.whole_file import whole_file


@dataclass
class Conversion:
    """What became of a foreign state dict.

    Attributes:
        state: weights under our names.
        dropped: foreign names that were dropped on request.
        left_over: foreign names that have no place in ours.
        notes: what a reader should know about the weights, one line each.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights of a checkpoint: a torch file with or without "state_dict", a .safetensors file (timm's and Hugging
    Face's), or an .npz with "weights/<name>" arrays.

    Nothing in the file is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, needs code to be read, or holds no weights; says what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                state: Any = {
                    name.removeprefix("weights/"): torch.from_numpy(arrays[name])
                    for name in arrays.files
                    if name.startswith("weights/")
                }
        elif path.suffix == ".safetensors":
            state = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"checkpoint {path} cannot be read as plain weights ({reason}). If it is not damaged, it holds Python "
            "objects beside them: where you trust it, load it with the code that wrote it and save "
            '{"state_dict": checkpoint["state_dict"]} with torch.save'
        ) from error
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"checkpoint {path} holds no state_dict of tensors")
    return dict(state)


def write_checkpoint(path: str | Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Path:
    """Write {"state_dict", "meta"}, whole or not at all: a crash leaves a previous file as it was."""
    path = Path(path)
    with whole_file(path, "wb") as file:
        torch.save({"state_dict": dict(state), "meta": dict(meta)}, file)
    return path


def split_dropped(state: Mapping[str, Tensor], drop: Sequence[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights without the modules named in `drop`, and the names that went with them.

    Raises ValueError when a module to drop is not there.
    """
    for module in drop:
        if not any(_inside(name, module) for name in state):
            raise ValueError(f"there is no {module} to drop: the checkpoint holds {', '.join(modules(state))}")
    dropped = [name for name in state if any(_inside(name, module) for module in drop)]
    return {name: value for name, value in state.items() if name not in set(dropped)}, dropped


def modules(names: Mapping[str, Tensor] | Sequence[str]) -> list[str]:
    """First parts of the names, each once."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _inside(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
