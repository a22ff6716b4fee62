"""ResNet and TridentNet checkpoints of other projects: names against the real modules, outputs against mmdet's."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import perception.detection2d  # noqa: F401

# isort: split
import mmdet
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope

from perception.camera.trident import TridentResNet
from perception.engine.convert_trident import convert_trident, trident_target
from perception.engine.run import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
MMDET_CONFIG = Path(mmdet.__file__).parent / ".mim/configs/tridentnet/tridentnet_r50-caffe_1x_coco.py"


def names_of(net: type[nn.Module], *args: Any, **kwargs: Any) -> dict[str, Tensor]:
    """The state dict of a network that is not worth initialising."""
    with torch.device("meta"):
        return dict(net(*args, **kwargs).state_dict())


def classifier(depth: int, counters: bool = True) -> dict[str, Tensor]:
    """A ResNet's weights as torchvision's files have them, which mmdet names alike; old ones lack the counters."""
    width = 512 if depth < 50 else 2048
    state = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in names_of(ResNet, depth).items()}
    state |= {"fc.weight": torch.zeros(1000, width), "fc.bias": torch.zeros(1000)}
    return {name: value for name, value in state.items() if counters or not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def mmdets() -> nn.Module:
    """mmdet's TridentNet of its own config, with heads that find something everywhere."""
    init_default_scope("mmdet")
    config = Config.fromfile(MMDET_CONFIG)
    config.model.backbone.init_cfg = config.model.roi_head.shared_head.init_cfg = None
    config.model.test_cfg.rpn.max_per_img = 20
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    for stages in (model.backbone, model.roi_head.shared_head):
        for name, parameter in stages.named_parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter)
            elif name.endswith("bn3.weight"):
                nn.init.constant_(parameter, 0.2)  # sixteen blocks, and features of about one size behind them
    for layer in (model.rpn_head.rpn_cls, model.rpn_head.rpn_reg):
        nn.init.normal_(layer.weight, std=0.01)
    nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.5)
    model.eval()
    return model


def test_mmdets_tridentnet_whole(mmdets: nn.Module) -> None:
    """Every weight has its place and every place its weight; and the detections are mmdet's."""
    path = CONFIGS / "trident_2d_r50_caffe_coco.py"
    target, backbone = trident_target(path)
    done = convert_trident(mmdets.state_dict(), target, backbone)
    assert done.state.keys() == target.keys() == mmdets.state_dict().keys()
    assert not done.left_over and not done.dropped and not done.notes
    ours = MODELS.build(load_config(path, {"model.test_cfg.rpn.max_per_img": 20}).model).eval()
    ours.load_state_dict(done.state, strict=True)
    size = (96, 128)
    sample = DetDataSample(
        metainfo={"img_shape": size, "ori_shape": size, "pad_shape": size, "scale_factor": (1.0, 1.0)}
    )
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = mmdets.predict(image, [sample.clone()])[0].pred_instances
        got = ours.predict(image, [sample.clone()])[0].pred_instances
    assert len(got) == len(expected) > 5
    assert torch.equal(got.labels, expected.labels)
    assert torch.allclose(got.scores, expected.scores, atol=1e-4)
    assert torch.allclose(got.bboxes, expected.bboxes, atol=1e-2)


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_torchvisions_resnet_as_a_backbone(depth: int) -> None:
    target = {f"network.camera.backbone.{name}": value for name, value in names_of(TridentResNet, depth).items()}
    state = classifier(depth)
    done = convert_trident(state, target, "network.camera.backbone.")
    assert done.state.keys() == target.keys()
    assert all(done.state[f"network.camera.backbone.{n}"] is state[n] for n in state if n.startswith("layer3."))
    assert set(done.dropped) == {name for name in state if name.startswith(("layer4.", "fc."))}
    assert not done.left_over and done.notes == ["the network has no conv5: layer4 is left out"]
    with_conv5 = names_of(TridentResNet, depth, conv5=True)
    whole = convert_trident(state, {f"backbone.{name}": value for name, value in with_conv5.items()}, "backbone.")
    assert set(whole.dropped) == {"fc.weight", "fc.bias"} and len(whole.state) == len(with_conv5) == len(state) - 2


def test_conv5_goes_to_the_second_stage() -> None:
    """Also mmpretrain's names, and files without counters."""
    target, backbone = trident_target(CONFIGS / "trident_2d_r50_coco.py")
    state = classifier(50, counters=False)
    named = {f"head.{n}" if n.startswith("fc.") else f"backbone.{n}": value for n, value in state.items()}
    for source, prefix in ((state, ""), ({f"module.{n}": value for n, value in named.items()}, "module.")):
        done = convert_trident(source, target, backbone, prefix)
        assert not done.left_over and len(done.dropped) == 2
        assert done.state.keys() == {n for n in target if n.startswith(("backbone.", "roi_head.shared_head."))}
        assert done.state["roi_head.shared_head.layer4.2.conv3.weight"] is state["layer4.2.conv3.weight"]
        assert int(done.state["backbone.bn1.num_batches_tracked"]) == 0
        assert [note.split(":")[0] for note in done.notes] == [
            "the checkpoint has no rpn_head", "the checkpoint has no roi_head.bbox_head",
        ]  # fmt: skip


def test_another_network_is_named() -> None:
    target = {f"backbone.{name}": value for name, value in names_of(TridentResNet, 50).items()}
    with pytest.raises(ValueError, match=r"another network: it lacks .*first backbone"):
        convert_trident(classifier(34), target, "backbone.")
    narrow = {f"backbone.{name}": value for name, value in names_of(TridentResNet, 50, base_channels=32).items()}
    with pytest.raises(ValueError, match=r"another shape, first backbone.conv1.weight \(\(64, 3, 7, 7\)"):
        convert_trident(classifier(50), narrow, "backbone.")
    with pytest.raises(ValueError, match="--prefix"):
        convert_trident({f"module.{name}": value for name, value in classifier(50).items()}, target, "backbone.")
    with pytest.raises(ValueError, match="no neck to drop"):
        convert_trident(classifier(50), target, "backbone.", drop=("neck",))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("convert_checkpoint", ROOT / "tools" / "convert_checkpoint.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tool_writes_what_the_camera_branch_loads(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "resnet50.pth", tmp_path / "out.pth"
    torch.save({**classifier(50), "neck.weight": torch.ones(1)}, source)
    command = ["trident", str(source), str(out), "--config", str(CONFIGS / "nuscenes_camera.py")]
    assert tool.main(command) == 1 and not out.exists()
    assert "left over: neck.weight" in capsys.readouterr().err
    assert tool.main([*command, "--drop", "neck"]) == 0
    written = torch.load(out, weights_only=True)["state_dict"]
    prefix = "network.camera.backbone."
    TridentResNet(50).load_state_dict(
        {name.removeprefix(prefix): value for name, value in written.items()}, strict=True
    )
    command[-1] = str(CONFIGS / "nuscenes_lidar.py")
    assert tool.main(command) == 1
    assert "has no camera branch" in capsys.readouterr().err
