"""Safe loading of mmengine's checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from perception.engine.convert import read_weights


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


def load_weights(model: torch.nn.Module, path: str) -> None:
    """Load a checkpoint's weights into the model, every one of them but those that the model names in `training_only`
    (prefixes of parts that inference does without) and does not have.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or its weights are not this model's; names the first ones that differ.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"checkpoint {path} does not exist") from None
    except Exception as error:
        raise ValueError(f"checkpoint {path} cannot be read ({error}): it is damaged or not a checkpoint") from error
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else None
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
    own = backbone.state_dict()
    # Counters of steps, which nothing depends on and old checkpoints lack.
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if prefix + name not in state or state[prefix + name].shape != own[name].shape]
    if wrong:
        raise ValueError(
            f"checkpoint {path} is no {type(backbone).__name__} of this size: {len(wrong)} of {len(wanted)} weights "
            f"are missing or of another shape (first: {wrong[0]}); tools/convert_checkpoint.py brings foreign ones over"
        )
    backbone.load_state_dict({**own, **{name: state[prefix + name] for name in wanted}})
