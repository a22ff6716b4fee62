"""The last epochs without pasted objects: in worker processes that live on, in wrapped data sets, after a resume."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from object_frames import write_frames
from torch.utils.data import ConcatDataset, DataLoader

import perception.engine  # noqa: F401

# isort: split
from mmdet3d.datasets.dataset_wrappers import CBGSDataset
from mmdet3d.datasets.transforms import LoadAnnotations3D
from mmengine.dataset import DefaultSampler, RepeatDataset, pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from perception.datasets.gt_cutting import create_gt_database
from perception.datasets.nuscenes import NuScenesFusionDataset
from perception.datasets.transforms import GTPaste, LoadSweeps
from perception.engine.fade import FadeGTPaste, _find_pastes

EPOCHS, LAST = 4, 2
TARGET = 6  # cars per sample; frames have one


def report(results: dict[str, Any]) -> dict[str, Any]:
    """The last step of the pipeline here: how many boxes the sample has, and which process made it."""
    return {"boxes": len(results["gt_labels_3d"]), "process": os.getpid()}


@pytest.fixture(scope="module")
def infos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fade")
    path = write_frames(root / "frames", 8, classes=("car",), sweeps=0)
    create_gt_database(path, root / "gt", sweeps=0, progress=False)
    return path


def dataset(infos: Path) -> NuScenesFusionDataset:
    paste = GTPaste(str(infos.parents[1] / "gt"), {"car": TARGET})
    boxes = LoadAnnotations3D(with_bbox_3d=True, with_label_3d=True)
    return NuScenesFusionDataset(str(infos), [LoadSweeps(0), boxes, paste, report], metainfo={"classes": ("car",)})


class Counter(BaseModel):
    """Records what each batch holds; trains one number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[dict[str, list[int]]] = []

    def forward(self, boxes: list[int], process: list[int], mode: str = "loss") -> dict[str, torch.Tensor]:
        self.seen.append({"boxes": boxes, "process": process})
        return {"loss": self.weight**2}

    def epochs(self, name: str) -> list[list[int]]:
        """Values of all samples, by epoch of two batches of four."""
        pairs = zip(self.seen[::2], self.seen[1::2], strict=True)
        return [first[name] + second[name] for first, second in pairs]


def run(train_set: Any, work_dir: Path, epochs: int = EPOCHS, resume: bool = False, workers: int = 2) -> Counter:
    """Train with the hook in mmengine's Runner; the model tells what it saw."""
    model = Counter()
    runner = Runner(
        model,
        str(work_dir),
        train_dataloader={
            "batch_size": 4,
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "sampler": {"type": DefaultSampler, "shuffle": True},
            "collate_fn": {"type": pseudo_collate},
            "dataset": train_set,
        },
        train_cfg={"type": EpochBasedTrainLoop, "max_epochs": EPOCHS},
        optim_wrapper={"type": OptimWrapper, "optimizer": {"type": torch.optim.SGD, "lr": 0.1}},
        custom_hooks=[FadeGTPaste(LAST), *([StopAfter(epochs)] if epochs < EPOCHS else [])],
        default_hooks={"logger": None, "checkpoint": {"type": "CheckpointHook", "interval": 1}},
        default_scope="mmengine",
        resume=resume,
        experiment_name=f"fade_{work_dir.name}_{resume}",
        env_cfg={"mp_cfg": {"mp_start_method": "fork"}, "dist_cfg": {"backend": "gloo"}},
    )
    runner.train()
    runner.train_dataloader._iterator = None  # ends the workers; left to the garbage collector they take 10 s
    return model


class StopAfter(Hook):
    """Ends the training early, as an interruption does."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def after_train_epoch(self, runner: Runner) -> None:
        runner.train_loop.stop_training = runner.epoch + 1 >= self.epochs


def test_persistent_workers_stop_pasting_for_the_last_epochs(infos: Path, tmp_path: Path) -> None:
    model = run(dataset(infos), tmp_path / "run")
    boxes, processes = model.epochs("boxes"), [set(epoch) for epoch in model.epochs("process")]
    for epoch in range(EPOCHS):
        pasted = [count > 1 for count in boxes[epoch]]
        assert all(pasted) if epoch < EPOCHS - LAST else not any(pasted)
    assert os.getpid() not in set().union(*processes)
    # Workers live through the epochs; they are replaced once, where the state changes, and the old ones end.
    assert processes[0] == processes[1] and processes[2] == processes[3] and not processes[1] & processes[2]
    for process in processes[1]:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


@pytest.mark.parametrize("done", [1, 3])
def test_a_resumed_run_pastes_in_the_epochs_that_should(infos: Path, tmp_path: Path, done: int) -> None:
    run(dataset(infos), tmp_path / "run", epochs=done)
    resumed = run(dataset(infos), tmp_path / "run", resume=True).epochs("boxes")
    assert [max(epoch) > 1 for epoch in resumed] == [epoch < EPOCHS - LAST for epoch in range(done, EPOCHS)]


def test_every_step_of_a_wrapped_data_set_is_found(infos: Path) -> None:
    inner = [dataset(infos) for _ in range(3)]
    wrapped = ConcatDataset([RepeatDataset(inner[0], 2), CBGSDataset(inner[1]), inner[2]])
    pastes = [part.pipeline.transforms[2] for part in inner]
    assert list(_find_pastes(wrapped)) == pastes
    runner = SimpleNamespace(epoch=0, max_epochs=EPOCHS, logger=MMLogger.get_current_instance())
    runner.train_dataloader = DataLoader(wrapped, batch_size=4, collate_fn=pseudo_collate)
    hook = FadeGTPaste(LAST)
    for runner.epoch in (0, 1, 2, 3, 1):
        hook.before_train_epoch(runner)
        assert [step.enabled for step in pastes] == [runner.epoch < 2] * 3
        assert (max(next(iter(runner.train_dataloader))["boxes"]) > 1) == (runner.epoch < 2)


def test_a_missing_database_ends_the_run_before_it_begins(infos: Path, tmp_path: Path) -> None:
    train_set = dataset(infos)
    train_set.pipeline.transforms[2] = GTPaste(str(tmp_path / "none"), {"car": TARGET})
    with pytest.raises(FileNotFoundError, match=r"tools/create_data\.py gt-database"):
        run(train_set, tmp_path / "run")
    train_set.pipeline.transforms.pop(2)
    with pytest.raises(ValueError, match="has no GTPaste"):
        run(train_set, tmp_path / "run")
    with pytest.raises(ValueError, match="last_epochs is -1"):
        FadeGTPaste(-1)
