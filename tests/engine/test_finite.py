"""A number that is none stops training at once, is named, and can be replayed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from tiny_training import tiny_config, write_tiny_data
from torch import Tensor

from perception.engine.bad_batch import BadBatch
from perception.engine.finite import NotFiniteError
from perception.engine.replay import replay
from perception.engine.run import train
from perception.head.center_head import CenterHead, HeadOutput
from perception.lidar.branch import LidarBranch


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient / 0


class NaNBranch(LidarBranch):
    """Fails in the second step, in forward."""

    calls = 0

    def forward(self, points: Tensor, point_batch: Tensor, batch_size: int) -> Tensor:
        NaNBranch.calls += 1
        out: Tensor = super().forward(points, point_batch, batch_size)
        return out * float("nan") if NaNBranch.calls >= 2 else out


class ExplodingHead(CenterHead):
    """Finite losses, infinite gradients."""

    def forward(self, bev: Tensor) -> HeadOutput:
        return super().forward(_InfiniteGradient.apply(bev))  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def infos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("finite") / "data")


def stopped(config: Config, work_dir: Path) -> str:
    with pytest.raises(NotFiniteError) as error:
        train(config, work_dir)
    return str(error.value)


def test_a_nan_in_forward_names_the_module_and_the_batch_can_be_replayed(infos: Path, tmp_path: Path) -> None:
    config = tiny_config(infos)
    config.model.network.lidar.type = NaNBranch
    NaNBranch.calls = 0
    message = stopped(config, tmp_path)
    assert message.startswith("NaN in the output of network.lidar ")
    assert "epoch 1, iteration 2" in message and str(tmp_path / "bad_batch.pth") in message
    tokens = re.findall(r"sample_\d", message)
    bad = BadBatch.read(tmp_path / "bad_batch.pth")
    assert bad.tokens == tokens and len(tokens) == len(bad.inputs["points"]) == len(bad.boxes)
    again = replay(config, tmp_path / "bad_batch.pth")
    assert again == {"samples": tokens, "epoch": 0, "iteration": 1, "then": bad.found, "now": bad.found}
    # The step that failed did not touch the weights, so a repaired model runs the same batch.
    assert replay(tiny_config(infos), tmp_path / "bad_batch.pth")["now"] is None


def test_an_infinite_gradient_stops_the_step_that_would_apply_it(infos: Path, tmp_path: Path) -> None:
    config = tiny_config(infos)
    config.model.network.head.type = ExplodingHead
    message = stopped(config, tmp_path)
    assert re.match(r"(infinity|NaN) in the gradient at the output of network\.decoder", message)
    weights = BadBatch.read(tmp_path / "bad_batch.pth").weights
    model = MODELS.build(config.model)
    assert all(torch.isfinite(weights[name]).all() for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda batch: batch["inputs"]["points"][0].fill_(torch.inf),
            r"infinity in the input points of sample sample_\d",
        ),
        (
            lambda batch: batch["data_samples"][0].gt_instances_3d.bboxes_3d.tensor.fill_(torch.nan),
            r"NaN in a ground truth box of sample sample_\d",
        ),
    ],
)
def test_bad_data_is_named_with_its_sample(
    infos: Path, tmp_path: Path, damage: Callable[[Any], Any], expected: str
) -> None:
    config = tiny_config(infos)
    config.train_dataloader.collate_fn = {"type": collate_damaged, "damage": damage}
    assert re.match(expected, stopped(config, tmp_path))


def collate_damaged(samples: Any, damage: Callable[[Any], Any]) -> Any:
    from mmengine.dataset import pseudo_collate

    batch = pseudo_collate(samples)
    damage(batch)
    return batch


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="is not a batch that training stopped at"):
        BadBatch.read(tmp_path / "weights.pth")
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        BadBatch.read(tmp_path / "gone.pth")
