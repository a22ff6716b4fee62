"""One training step and one frame of inference of a config: shapes, time and peak memory."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch.utils.flop_counter import FlopCounterMode

from perception.datasets.transforms import GTPaste, ModalityDropout


def measure_step(
    config: Config,
    ann_file: str | None = None,
    steps: int = 1,
    batch_size: int | None = None,
    look: Callable[[torch.nn.Module], None] | None = None,
) -> dict[str, Any]:
    """Run `steps` training steps at the config's size, after one to warm up, and one frame of inference.

    The samples are the first of the training set, repeated where it has fewer than a batch. Data sets that wrap it to
    repeat or resample it are left out, and GTPaste passes samples through: a step needs no database of objects, and no
    more samples than those. No sensor is dropped by chance, and where samples are decoded again without LiDAR all of
    them are: the step is a whole one. `look` is given the network before the first step, to hang hooks on it.

    Returns:
        parameters_m, inputs {name: shape}, train_step_s and inference_s (medians), train_step_tflop (products and
        convolutions of torch's own operators, two for each multiply-add, forward and backward), peak_memory_gib (of the
        GPU, or of the whole process on the CPU), loss of the last step, device and threads.

    Raises:
        FileNotFoundError, ValueError: a file of the data set is missing or damaged, or steps is less than 1.
        FloatingPointError: a loss is not finite.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least one is needed")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_set, test_set = config.train_dataloader.dataset, config.test_dataloader.dataset
    while "dataset" in train_set:
        train_set = train_set.dataset
    for dataset in (train_set, test_set):
        dataset.ann_file = ann_file or dataset.ann_file
    train_set.pipeline = [transform for transform in train_set.pipeline if transform.type is not ModalityDropout]
    for transform in train_set.pipeline:
        if transform.type is GTPaste:
            transform.enabled = False
    samples = DATASETS.build(train_set)
    count = batch_size or config.train_dataloader.batch_size
    batch = pseudo_collate([samples[i % len(samples)] for i in range(count)])
    frame = pseudo_collate([DATASETS.build(test_set)[0]])

    if config.model.get("network", {}).get("without_lidar"):
        config.model.network.without_lidar = 1.0
    model = MODELS.build(config.model).to(device)
    if look is not None:
        look(model.network)
    optimizer = build_optimizer(config, model)
    losses: Mapping[str, torch.Tensor] = {}

    def train() -> None:
        nonlocal losses
        losses = model.train_step(batch, optimizer)

    def infer() -> None:
        with torch.no_grad():
            model.test_step(frame)

    model.train()
    with FlopCounterMode(display=False) as counter:
        train()
    train_s = statistics.median(_seconds(train, device) for _ in range(steps))
    if not torch.isfinite(losses["loss"]):
        raise FloatingPointError(f"the loss is {losses['loss'].item()}")
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _resident_bytes()
    model.eval()
    infer()
    return {
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
        "inputs": {k: ["x".join(map(str, v.shape)) for v in values] for k, values in batch["inputs"].items()},
        "train_step_s": round(train_s, 3),
        "train_step_tflop": round(counter.get_total_flops() / 1e12, 4),
        "inference_s": round(statistics.median(_seconds(infer, device) for _ in range(steps)), 3),
        "peak_memory_gib": round(peak / 2**30, 2),
        "loss": round(losses["loss"].item(), 3),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }


def build_optimizer(config: Config, model: torch.nn.Module) -> OptimWrapper:
    """The config's optimizer in mmengine's wrapper, with the config's gradient clipping and precision."""
    described = config.optim_wrapper.optimizer
    arguments = {key: value for key, value in described.items() if key != "type"}
    optimizer = described["type"](model.parameters(), **arguments)
    wrapper: OptimWrapper = OPTIM_WRAPPERS.build({**config.optim_wrapper, "optimizer": optimizer})
    return wrapper


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _resident_bytes() -> int:
    """Largest resident memory of this process so far; the data set and the libraries are in it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
