"""Running a batch again that training stopped at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from perception.engine.bad_batch import BadBatch
from perception.engine.first_bad import first_bad
from perception.engine.step import build_optimizer


def replay(config: Config, path: str | Path) -> dict[str, Any]:
    """Run the batch in `path` (FiniteGuard's bad_batch.pth) through the config's model with the weights beside it.

    Returns {"samples", "epoch", "iteration", "then": what was found while training, "now": what is found, or None}.
    Raises FileNotFoundError or ValueError where the file cannot be read or is of another config.
    """
    bad = BadBatch.read(path)
    model = MODELS.build(config.model)
    try:
        model.load_state_dict(bad.weights)
    except RuntimeError as error:
        raise ValueError(f"{path} is of another config: {str(error).splitlines()[1].strip()}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    now = first_bad(model, bad.batch(), build_optimizer(config, model), bad.random)
    return {"samples": bad.tokens, **bad.step, "then": bad.found, "now": now}
