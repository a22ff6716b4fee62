"""What a training run will be, before it is one: data, shapes, parameters, memory and time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config
from torch import Tensor, nn

from perception.datasets.file_check import SensorFile, bad_files
from perception.datasets.gt_database import GTDatabase
from perception.datasets.info_files import POINT_FEATURES
from perception.datasets.transforms import GTPaste, LoadCameras, LoadSweeps
from perception.engine.step import measure_step

_SHOWN_PROBLEMS = 50


def dry_run(config: Config, contents: bool = False, progress: bool = True) -> dict[str, Any]:
    """Build everything that the config names, check every file of its data sets and take one training step.

    Args:
        contents: read and decode every file, instead of looking at its size, its beginning and its end.

    Returns:
        parameters_m: {part of the network: millions}, "all" among them
        data: {train | val | test: {samples, files}}
        shapes: {input or part: shape}, of a batch as the config has it
        steps_per_epoch, epochs; train_step_s, inference_s, peak_memory_gib, device, threads: measured here
        estimate_h: of all epochs and validations at that speed, data loading not counted
        problems: what is wrong, at most fifty; the numbers of a step are left out where there are any
        bad_files: how many files are bad

    Raises FileNotFoundError or ValueError where an info file or a database cannot be read at all.
    """
    config = copy.deepcopy(config)
    model = MODELS.build(config.model)
    parts = dict(model.network.named_children())
    report: dict[str, Any] = {
        "parameters_m": {
            **{name: _millions(part) for name, part in parts.items() if part is not None},
            "all": _millions(model),
        },
        "data": {},
    }
    problems: list[str] = []
    for split in ("train", "val", "test"):
        loader = config.get(f"{split}_dataloader")
        if loader is not None:
            report["data"][split] = _check_data(loader.dataset, contents, progress, problems)
    report["bad_files"], report["problems"] = len(problems), problems[:_SHOWN_PROBLEMS]

    batch = config.train_dataloader.get("batch_size", 1)
    report["steps_per_epoch"] = -(-report["data"]["train"]["samples"] // batch)
    report["epochs"] = config.train_cfg.get("max_epochs")
    if not problems:
        shapes: dict[str, str] = {}
        measured = measure_step(config, look=lambda network: _watch(network, shapes))
        report["shapes"] = {**{name: sizes[0] for name, sizes in measured["inputs"].items()}, **shapes}
        for key in ("train_step_s", "inference_s", "peak_memory_gib", "device", "threads"):
            report[key] = measured[key]
        report["estimate_h"] = _estimate_h(config, report)
    return report


def _millions(part: nn.Module) -> float:
    return round(sum(p.numel() for p in part.parameters()) / 1e6, 3)


def _check_data(dataset_config: Any, contents: bool, progress: bool, problems: list[str]) -> dict[str, int]:
    dataset = DATASETS.build(dataset_config)
    inner, pipeline = dataset, dataset_config
    while hasattr(inner, "dataset"):
        inner, pipeline = inner.dataset, pipeline.dataset
    steps = list(pipeline.pipeline)
    for step in steps:
        if step["type"] is GTPaste:
            GTDatabase(step["database"])
    files = dict(_files(inner, steps))
    found = bad_files((SensorFile(path, n) for path, n in files.items()), len(files), contents, progress=progress)
    problems += [problem for _, problem in found]
    return {"samples": len(dataset), "files": len(files)}


def _files(dataset: Any, steps: list[Any]) -> Iterator[tuple[str, int]]:
    """Path and number of point features of all that the pipeline will read; a file of several samples comes again."""
    sweeps = next((step for step in steps if step["type"] is LoadSweeps), None)
    cameras = next((step for step in steps if step["type"] is LoadCameras), None)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        features = info["lidar_points"].get("num_pts_feats", POINT_FEATURES)
        if sweeps is not None:
            step = LoadSweeps(**{key: value for key, value in sweeps.items() if key != "type"})
            rows = [info, *info["lidar_sweeps"][step.every - 1 :: step.every][: step.sweeps]]
            yield from (
                (row["lidar_points"]["lidar_path"], features) for row in rows if row["lidar_points"]["lidar_path"]
            )
        if cameras is not None:
            wanted = cameras.get("cameras")
            yield from ((im["img_path"], 0) for name, im in info["images"].items() if wanted is None or name in wanted)


def _watch(network: nn.Module, shapes: dict[str, str]) -> None:
    """Note the shape of what each part of the network gives."""

    def note(name: str) -> Any:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            fields = getattr(output, "_fields", range(len(output)) if isinstance(output, (list, tuple)) else ())
            tensors = {f"{name}.{f}": v for f, v in zip(fields, output, strict=True)} if fields else {name: output}
            shapes.update({k: "x".join(map(str, v.shape)) for k, v in tensors.items() if isinstance(v, Tensor)})

        return look

    for name, part in network.named_children():
        part.register_forward_hook(note(name))


def _estimate_h(config: Config, report: dict[str, Any]) -> float:
    steps_s = report["steps_per_epoch"] * report["epochs"] * report["train_step_s"]
    validations = report["epochs"] // config.train_cfg.get("val_interval", 1) if "val" in report["data"] else 0
    frames = report["data"].get("val", {"samples": 0})["samples"]
    devices = torch.cuda.device_count() or 1
    return round((steps_s + validations * frames * report["inference_s"]) / devices / 3600, 2)


def describe(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["parameters (M)  " + "  ".join(f"{name} {value}" for name, value in report["parameters_m"].items())]
    for split, data in report["data"].items():
        lines.append(f"{split:5}           {data['samples']} samples, {data['files']} files")
    for name, shape in report.get("shapes", {}).items():
        lines.append(f"  {name:22} {shape}")
    lines.append(f"steps           {report['steps_per_epoch']} per epoch, {report['epochs']} epochs")
    if "estimate_h" in report:
        lines.append(
            f"on this {report['device']}: step {report['train_step_s']} s, frame {report['inference_s']} s, "
            f"{report['peak_memory_gib']} GiB; all of it about {report['estimate_h']} h, data loading not counted"
        )
    lines += [f"problem: {problem}" for problem in report["problems"]]
    lines.append(f"{report['bad_files']} bad files" if report["bad_files"] else "every file is whole")
    return "\n".join(lines)
