"""Training and testing from a config file: what tools/train.py and tools/test.py call."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.dist import barrier, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from perception.command_line import nearest
from perception.engine.checkpoints import latest_checkpoint, load_weights
from perception.engine.config_check import check_keys, check_options, check_variables
from perception.engine.folder_lock import locked
from perception.engine.options import parse_options
from perception.evaluation.json_file import write_json

_runs = itertools.count(1)

# Which sensors stay on, by the name under which a score is reported.
SENSORS = {
    "fused": {"use_lidar": True, "use_camera": True},
    "lidar_only": {"use_lidar": True, "use_camera": False},
    "camera_only": {"use_lidar": False, "use_camera": True},
}


def load_config(path: str | Path, options: Mapping[str, Any] | Sequence[str] | None = None) -> Config:
    """Read a config in Python and apply `--cfg-options`. Configs are code: read one before you run it.

    Args:
        options: {"a.b": value}, or ["a.b=value", ...] as on the command line.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an option is not KEY=VALUE.
        ConfigError: an option leads nowhere in the config, or nothing reads a key or a variable of it.
    """
    if not Path(path).is_file():
        hint = nearest(Path(path).name, (other.name for other in Path(path).parent.glob("*.py")))
        raise FileNotFoundError(f"config {path} does not exist{hint}")
    if options is not None and not isinstance(options, Mapping):
        options = parse_options(options)
    check_variables(path)
    config = Config.fromfile(str(path))
    check_options(config._cfg_dict, options or {})
    config.merge_from_dict(dict(options or {}))
    check_keys(config._cfg_dict)
    return config


def train(config: Config, work_dir: str | Path, resume: bool = False, launcher: str = "none") -> Path:
    """Train as the config says; the last checkpoint lies at work_dir/latest.pth. Returns its path.

    With `resume` a run that was interrupted goes on from its last checkpoint; one that had finished returns at once.

    Raises BlockingIOError where another process trains in work_dir.
    """
    work_dir = Path(work_dir)
    config.work_dir, config.resume, config.launcher = str(work_dir), False, launcher
    if resume and (checkpoint := latest_checkpoint(work_dir)) is not None:
        # mmengine takes what to resume from load_from; without it, an interrupted --resume would begin there again.
        config.resume, config.load_from = True, str(checkpoint)
    _place_scores(config, work_dir)
    _place_processes(config, launcher)
    runner = _make_runner(config)
    latest = work_dir / "latest.pth"
    with locked(work_dir) if is_main_process() else nullcontext():
        runner.train()
        if is_main_process():
            _point(latest, Path((work_dir / "last_checkpoint").read_text().strip()).name)
    barrier()
    return latest


def _point(link: Path, name: str) -> None:
    """Make `link` a symbolic link to `name`, in one step."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name)
    temporary.replace(link)


def evaluate(
    config: Config,
    checkpoint: str | Path,
    out_dir: str | Path,
    sensors: Sequence[str] = ("fused",),
    launcher: str = "none",
) -> dict[str, dict[str, Any]]:
    """Score a checkpoint once for each choice of sensors; the same weights each time.

    Writes out_dir/<sensors>/{results,scores}.json and out_dir/metrics.json, which holds what is returned:
    {sensors: {NDS, mAP, mAP_present, mATE, ..., AP: {class: AP}, ms_per_frame}}. A 2D detector has no sensors to switch
    off; it is scored once, under the name "2d": {AP, AP50, AP75, AP_S, AP_M, AP_L, AP_per_class, ms_per_frame}.
    """
    unknown = set(sensors) - SENSORS.keys()
    if unknown:
        raise ValueError(f"unknown sensors {sorted(unknown)}; choose among {list(SENSORS)}")
    scorer = Scorer(config, checkpoint, out_dir, launcher)
    if not scorer.has_sensors and tuple(sensors) != ("fused",):
        raise ValueError("the config's detector is not ours: it has no sensors to switch off")
    if scorer.is_2d:
        metrics = {"2d": scorer.score("2d")}
    else:
        metrics = {
            name: scorer.score(name, SENSORS[name]["use_lidar"], SENSORS[name]["use_camera"]) for name in sensors
        }
    if is_main_process():
        write_json(Path(out_dir) / "metrics.json", metrics, indent=2)
    return metrics


class Scorer:
    """Scores one checkpoint again and again, as the same weights see the data under different conditions.

    Args:
        config: its test_dataloader and test_evaluator count.
        checkpoint: the weights; or the folder of an ONNX artifact, which then runs in the network's place.
        out_dir: each score's files go to a folder in it.
        launcher: mmengine's, for several processes.
    """

    def __init__(self, config: Config, checkpoint: str | Path, out_dir: str | Path, launcher: str = "none") -> None:
        self.out_dir = Path(out_dir)
        config.work_dir, config.launcher = str(out_dir), launcher
        _place_scores(config, self.out_dir)
        _place_processes(config, launcher)
        for key in ("train_dataloader", "train_cfg", "optim_wrapper", "val_dataloader", "val_cfg", "val_evaluator"):
            config[key] = None
        config.param_scheduler = None
        self._runner = _make_runner(config)
        model = self._runner.model
        self._model: Any = model.module if is_model_wrapper(model) else model
        if Path(checkpoint).is_dir():
            if not self.has_sensors:
                raise ValueError(f"{checkpoint} is a folder: the config's detector has checkpoints, no ONNX artifacts")
            from perception.engine.onnx_runtime import OnnxRuntimeNetwork

            self._model.network = OnnxRuntimeNetwork(checkpoint, self._model.network)
        else:
            load_weights(self._model, str(checkpoint))
        self._loop: Any = self._runner.test_loop  # which builds the data set

    @property
    def dataset(self) -> Any:
        return self._loop.dataloader.dataset

    @property
    def has_sensors(self) -> bool:
        """Whether the model's sensors can be switched off; a 2D detector's and mmdet3d's own models' cannot."""
        return hasattr(self._model.data_preprocessor, "use_lidar")

    @property
    def is_2d(self) -> bool:
        from mmdet3d.models.detectors import Base3DDetector  # imports on mmcv-lite once the model is built

        return not isinstance(self._model, Base3DDetector)

    def score(
        self, name: str, use_lidar: bool = True, use_camera: bool = True, pipeline: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """{NDS, mAP, mAP_present, mATE, ..., AP: {class: AP}, ms_per_frame}; writes out_dir/name/{results,scores}.json.

        With `pipeline` the samples are loaded by it in place of the config's.
        """
        if pipeline is not None:
            self.dataset.pipeline = Compose(pipeline)
        if self.has_sensors:
            preprocessor = self._model.data_preprocessor
            preprocessor.use_lidar, preprocessor.use_camera = use_lidar, use_camera
        metric = self._loop.evaluator.metrics[0]
        metric.out_dir = self.out_dir / name
        start = time.perf_counter()
        self._runner.test()
        elapsed_s = time.perf_counter() - start
        scores = {key: value for key, value in metric.scores.items() if key not in ("curves", "AP_per_distance")}
        return {**scores, "ms_per_frame": 1e3 * elapsed_s / len(self.dataset)}


def _make_runner(config: Config) -> Runner:
    # mmengine keeps loggers and writers under the config's name and the second of the start: without a number, a run
    # that begins in the second of another would write its curves into the other's folder.
    config.experiment_name = f"{config.get('experiment_name') or Path(config.filename or 'run').stem}_{next(_runs)}"
    return Runner.from_cfg(config)


def _place_processes(config: Config, launcher: str) -> None:
    """Without a GPU, torchrun's processes meet over gloo; mmengine would give each of them a GPU first."""
    if launcher != "pytorch" or torch.cuda.is_available():
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    config.model_wrapper_cfg = {
        "type": "MMDistributedDataParallel",  # by name: mmengine writes the config down as text
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": config.get("find_unused_parameters", False),
    }


def _place_scores(config: Config, folder: Path) -> None:
    for key in ("val_evaluator", "test_evaluator"):
        if config.get(key) is not None:
            config[key].out_dir = str(folder / key.split("_")[0])
