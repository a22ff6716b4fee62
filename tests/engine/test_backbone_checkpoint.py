"""Training begins the image backbone from foreign weights; what is not its own is refused by name."""

from pathlib import Path

import pytest
import torch

from perception.camera.trident import TridentResNet
from perception.engine.checkpoints import load_backbone


def saved(path: Path, prefix: str = "", **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """A checkpoint of a plain ResNet with a classifier, without the counters that old files lack."""
    torch.manual_seed(1)
    own = TridentResNet(18, (1,), base_channels=8).state_dict()
    state = {prefix + name: torch.randn_like(value) for name, value in own.items() if value.is_floating_point()}
    torch.save({"state_dict": {**state, "fc.weight": torch.zeros(10, 4), **extra}}, path)
    return {name.removeprefix(prefix): value for name, value in state.items()}


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_every_weight_arrives(prefix: str, tmp_path: Path) -> None:
    expected, backbone = saved(tmp_path / "resnet.pth", prefix), TridentResNet(18, base_channels=8)
    load_backbone(backbone, str(tmp_path / "resnet.pth"))
    state = backbone.state_dict()
    assert expected and all(torch.equal(state[name], value) for name, value in expected.items())


def test_another_size_and_a_missing_weight_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"no TridentResNet of this size.*first: conv1.weight"):
        load_backbone(TridentResNet(18, base_channels=16), str(tmp_path / "resnet.pth"))
    torch.save({"state_dict": {"conv1.weight": torch.zeros(8, 3, 7, 7)}}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"first: bn1\.weight"):
        load_backbone(TridentResNet(18, base_channels=8), str(tmp_path / "part.pth"))
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        load_backbone(TridentResNet(18, base_channels=8), str(tmp_path / "gone.pth"))
