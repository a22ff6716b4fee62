"""Safe loading of mmengine's checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer


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
    """Load a checkpoint's weights into the model, every one of them.

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
    unexpected = sorted(state.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if missing or unexpected or shapes:
        parts = [
            f"{len(names)} {what} (first: {names[0]})"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
            if names
        ]
        raise ValueError(f"checkpoint {path} is of another config: weights {', '.join(parts)}")
    model.load_state_dict(state)
