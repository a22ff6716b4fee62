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

from perception.datasets.transforms import PackFrame
from perception.engine.bad_batch import BadBatch
from perception.engine.finite import NotFiniteError
from perception.engine.replay import replay
from perception.engine.run import train
from perception.head.center_head import CenterHead
from perception.lidar.branch import LidarBranch


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient / 0


def fail_in_step(step: int) -> Callable[..., Tensor]:
    """LidarBranch.forward, whose output is NaN from a step on."""
    calls = iter(range(1, 1000))
    forward = LidarBranch.forward

    def failing(self: LidarBranch, points: Tensor, point_batch: Tensor, batch_size: int) -> Tensor:
        out: Tensor = forward(self, points, point_batch, batch_size)
        return out * float("nan") if next(calls) >= step else out

    return failing


@pytest.fixture(scope="module")
def infos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("finite") / "data")


def stopped(config: Config, work_dir: Path) -> str:
    with pytest.raises(NotFiniteError) as error:
        train(config, work_dir)
    return str(error.value)


def test_a_nan_in_forward_names_the_module_and_the_batch_can_be_replayed(
    infos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(LidarBranch, "forward", fail_in_step(2))
        message = stopped(tiny_config(infos), tmp_path)
        assert message.startswith("NaN in the output of network.lidar ")
        assert "epoch 1, iteration 2" in message and str(tmp_path / "bad_batch.pth") in message
        tokens = re.findall(r"sample_\d", message)
        bad = BadBatch.read(tmp_path / "bad_batch.pth")
        assert bad.tokens == tokens and len(tokens) == len(bad.inputs["points"]) == len(bad.boxes)
        again = replay(tiny_config(infos), tmp_path / "bad_batch.pth")
        assert again == {"samples": tokens, "epoch": 0, "iteration": 1, "then": bad.found, "now": bad.found}
    # The step that failed did not touch the weights, so a repaired model runs the same batch.
    assert replay(tiny_config(infos), tmp_path / "bad_batch.pth")["now"] is None


def test_an_infinite_gradient_stops_the_step_that_would_apply_it(
    infos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = CenterHead.forward
    explode: Any = _InfiniteGradient.apply
    monkeypatch.setattr(CenterHead, "forward", lambda self, bev: forward(self, explode(bev)))
    message = stopped(tiny_config(infos), tmp_path)
    assert re.match(r"(infinity|NaN) in the gradient at the output of network\.decoder", message)
    weights = BadBatch.read(tmp_path / "bad_batch.pth").weights
    model = MODELS.build(tiny_config(infos).model)
    assert all(torch.isfinite(weights[name]).all() for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda packed: packed["inputs"]["points"].fill_(torch.inf),
            r"infinity in the input points of sample sample_\d",
        ),
        (
            lambda packed: packed["data_samples"].gt_instances_3d.bboxes_3d.tensor.fill_(torch.nan),
            r"NaN in a ground truth box of sample sample_\d",
        ),
    ],
)
def test_bad_data_is_named_with_its_sample(
    infos: Path, tmp_path: Path, damage: Callable[[Any], Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = PackFrame.transform

    def damaged(self: PackFrame, results: dict[str, Any]) -> dict[str, Any]:
        packed = pack(self, results)
        damage(packed)
        return packed

    monkeypatch.setattr(PackFrame, "transform", damaged)
    assert re.match(expected, stopped(tiny_config(infos), tmp_path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="is not a batch that training stopped at"):
        BadBatch.read(tmp_path / "weights.pth")
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        BadBatch.read(tmp_path / "gone.pth")
