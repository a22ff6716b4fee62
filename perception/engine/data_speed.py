"""How fast a config's training samples are made: each transform and the whole, in one process."""

from __future__ import annotations

import time
from typing import Any

from mmdet3d.registry import DATASETS
from mmengine.config import Config
from tqdm import tqdm


def measure_data(config: Config, ann_file: str | None = None, samples: int = 20) -> dict[str, Any]:
    """Make `samples` training samples one after the other, after one to warm up, on one core.

    Data sets that wrap the training set to repeat or resample it are left out. Files that the system still has in
    memory cost no disk.

    Returns:
        samples_per_s of the whole; ms of each transform by name, in order (`read` is the info entry); points and images
        of the last sample.

    Raises:
        FileNotFoundError, ValueError: a file of the data set is missing or damaged, or samples is less than 1.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; at least one is needed")
    train_set = config.train_dataloader.dataset
    while "dataset" in train_set:
        train_set = train_set.dataset
    train_set.ann_file = ann_file or train_set.ann_file
    dataset = DATASETS.build(train_set)
    names = ["read", *(type(step).__name__ for step in dataset.pipeline.transforms)]
    spent = [0.0] * len(names)
    results: Any = None
    for k in tqdm(range(samples + 1), desc="samples", disable=None):
        start = time.perf_counter()
        results = dataset.get_data_info(k % len(dataset))
        results["box_type_3d"], results["box_mode_3d"] = dataset.box_type_3d, dataset.box_mode_3d
        for i, step in enumerate((None, *dataset.pipeline.transforms)):
            if step is not None:
                results = step(results)
            now = time.perf_counter()
            if k:
                spent[i] += now - start
            start = now
    return {
        "samples_per_s": round(samples / sum(spent), 2),
        "ms": {
            f"{i} {name}": round(1e3 * s / samples, 2) for i, (name, s) in enumerate(zip(names, spent, strict=True))
        },
        "inputs": {k: "x".join(map(str, v.shape)) for k, v in results["inputs"].items()},
    }
