"""Checkpoints: written whole, read without running anything in them."""

from __future__ import annotations

import functools
import logging
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint

from perception.engine.convert import read_weights
from perception.fusion.fuser import ConcatFuser
from perception.head.second_stage import SecondStage


def allow_training_state() -> None:
    """Make mmengine's checkpoints resumable by torch's weights-only loader, which mmengine 0.10.7 fails under.

    The log history is stored as plain arrays: mmengine adds its functions to it, which only an unsafe loader can read.
    The loader is told of exactly the classes that remain.
    """
    HistoryBuffer.__getstate__ = _history_state
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        np.dtypes.Int64DType,
        np.core.multiarray._reconstruct,  # type: ignore[attr-defined]
        np.core.multiarray.scalar,  # type: ignore[attr-defined]
    ]
    torch.serialization.add_safe_globals(allowed)


def _history_state(self: HistoryBuffer) -> dict[str, Any]:
    return dict(vars(self))


def load_without_running() -> None:
    """Make mmengine's Runner read checkpoints as `read_checkpoint` does, from the disk or from an address.

    Its own downloads trust what they fetch.
    """
    mmengine_checkpoint.CheckpointLoader.register_scheme("", _load_for_runner, force=True)
    mmengine_checkpoint.load_url = functools.partial(torch.hub.load_state_dict_from_url, weights_only=True)


def _load_for_runner(filename: str, map_location: Any = None) -> dict[str, Any]:
    checkpoint = read_checkpoint(Path(filename).expanduser(), map_location)
    meta = checkpoint.get("meta")
    # mmengine's resume runs this as Python, to read one number of it.
    if isinstance(meta, dict) and meta.pop("config", None) is not None:
        print_log(f"meta.config of {filename} is code and is left out", "current", logging.WARNING)
    return checkpoint


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The dictionary in a checkpoint file, by torch's weights-only loader.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, is no checkpoint, or asks for code to be run.
    """
    try:
        _check_sums(path)
        content = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"checkpoint {path} does not exist") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"checkpoint {path} cannot be read ({reason}): it is damaged, is not a checkpoint or would run code"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint {path} holds a {type(content).__name__}, not a dictionary")
    return content


def _check_sums(path: str | Path) -> None:
    """Raises ValueError where a part of a checkpoint is not what was written; torch reads past its own checksums.

    Files of before torch 1.6 have none.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("its parts are compressed, as torch never does")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint to go on from: the newest of a work dir that can be read; None where there is none.

    The one that `last_checkpoint` names comes first, wherever the folder has been moved; then epoch_N.pth and
    iter_N.pth by falling N. What is passed over is logged.

    Raises ValueError where there are checkpoints and none of them can be read.
    """
    work_dir = Path(work_dir)
    numbered = {
        p: int(found[1]) for p in work_dir.glob("*.pth") if (found := re.fullmatch(r"(?:epoch|iter)_(\d+)", p.stem))
    }
    candidates = sorted(numbered, key=numbered.__getitem__, reverse=True)
    pointer = work_dir / "last_checkpoint"
    if pointer.is_file() and (name := Path(pointer.read_text(errors="replace").strip()).name):
        named = work_dir / name
        candidates = [named, *(path for path in candidates if path != named)]
    for path in candidates:
        try:
            read_checkpoint(path)
        except (FileNotFoundError, ValueError) as error:
            print_log(f"passed over: {error}", "current", logging.WARNING)
        else:
            return path
    if any(path.is_file() for path in candidates):
        raise ValueError(f"none of the {len(candidates)} checkpoints in {work_dir} can be read; train without --resume")
    return None


def load_weights(model: torch.nn.Module, path: str) -> None:
    """Load a checkpoint's weights into the model, every one of them but those that the model names in `training_only`
    (prefixes of parts that inference does without) and does not have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or its weights are not this model's; names the first ones that differ.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, dict):
        raise ValueError(f"checkpoint {path} holds no state_dict")
    own = model.state_dict()
    missing = sorted(own.keys() - state.keys())
    spare = tuple(getattr(model, "training_only", ()))
    unexpected = sorted(name for name in state.keys() - own.keys() if not name.startswith(spare))
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if missing or unexpected or shapes:
        parts = [
            f"{len(names)} {what} (first: {names[0]})"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if names
        ]
        raise ValueError(f"checkpoint {path} is of another config: weights {', '.join(parts)}")
    model.load_state_dict({name: state[name] for name in own})


def load_backbone(backbone: torch.nn.Module, path: str) -> None:
    """Begin a backbone from a checkpoint of a classifier or a detector: torchvision's names, maybe after "backbone.".

    What the backbone lacks (a last stage, a classifier, necks and heads) is left aside.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or it lacks weights of the backbone or has them in another shape.
    """
    state = read_weights(path)
    prefix = "backbone." if any(name.startswith("backbone.") for name in state) else ""
    _load_module(backbone, state, prefix, path, "tools/convert_checkpoint.py brings foreign ones over")


def network_part(network: torch.nn.Module, name: str) -> torch.nn.Module:
    """A part of a detector's network by its name. Raises ValueError where it has no such part."""
    found = getattr(network, name, None)
    if not isinstance(found, torch.nn.Module):
        parts = ", ".join(name for name, _ in network.named_children())
        raise ValueError(f"a config names the part {name!r}; the network has {parts}")
    return found


def load_part(network: torch.nn.Module, name: str, path: str) -> None:
    """Begin a part of a detector's network ("lidar", "camera", "fuser", "decoder", "head", "second_stage") from another
    detector's checkpoint.

    A fuser may begin from one of fewer sensors, and a second stage from one without images. What the others have to say
    begins at zero (ControlNet's zero convolutions, Zhang et al., ICCV 2023), so that the network at first finds what it
    found without them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the network has no such part, or the file is damaged, or it lacks weights of the part or has them in
            another shape.
    """
    module = network_part(network, name)
    state, prefix = read_weights(path), f"network.{name}."
    if isinstance(module, ConcatFuser):
        there = {sensor for sensor in module.mix if f"{prefix}mix.{sensor}.weight" in state}
        for sensor in (module.mix.keys() - there) if there else ():
            for key, value in module.mix[sensor].state_dict().items():
                state[f"{prefix}mix.{sensor}.{key}"] = torch.zeros_like(value)
    if isinstance(module, SecondStage) and module.images is not None:
        images = {f"{prefix}images.{key}": value for key, value in module.images.state_dict().items()}
        if images.keys().isdisjoint(state):
            last = {f"{prefix}images.layers.{len(module.images.layers) - 1}.{key}" for key in ("weight", "bias")}
            state |= {key: torch.zeros_like(value) if key in last else value for key, value in images.items()}
    _load_module(module, state, prefix, path, f"its config must have the same {name}")


def _load_module(module: torch.nn.Module, state: dict[str, Any], prefix: str, path: str, remedy: str) -> None:
    own = module.state_dict()
    # Counters of steps, which nothing depends on and old checkpoints lack.
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if prefix + name not in state or state[prefix + name].shape != own[name].shape]
    if wrong:
        raise ValueError(
            f"checkpoint {path} is no {type(module).__name__} of this size: {len(wrong)} of {len(wanted)} weights "
            f"are missing or of another shape (first: {prefix}{wrong[0]}); {remedy}"
        )
    module.load_state_dict({**own, **{name: state[prefix + name] for name in wanted}})
