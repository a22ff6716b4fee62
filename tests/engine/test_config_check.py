"""Keys that nothing reads are refused with the nearest name."""

from pathlib import Path

import pytest

from perception.engine.config_check import ConfigError, check_variables
from perception.engine.run import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("trian_cfg.max_epochs=1", "the config has no 'trian_cfg'; did you mean train_cfg"),
        ("model.network.lidar.backbone.bloks=1", "backbone has no 'bloks'; did you mean blocks"),
        ("model.network.lidar.backbon.blocks=1", "lidar has no 'backbon'; did you mean backbone"),
        ("train_cfg.max_epoch=2", "train_cfg has no 'max_epoch'; did you mean max_epochs"),
        ("param_scheduler.3.eta_max=1", "param_scheduler is a list of 1, which has no '3'"),
        ("train_dataloader.num_worker=1", "did you mean num_workers"),
        ("train_dataloader.batch_size.x=1", "train_dataloader.batch_size is no dictionary"),
        ("load_form=x.pth", "did you mean load_from"),
        ("epochs=3", "epochs is a variable that the config file has used already"),
        ("grid.cell_m=(0.4, 0.4, 8.0)", "grid is a variable"),
        ("epochs", "KEY=VALUE"),
    ],
)
def test_options_that_lead_nowhere(option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(CONFIGS / "demo_fusion.py", [option])


def test_a_config_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError, match=r"demo_fuson\.py does not exist; did you mean demo_fusion\.py"):
        load_config(CONFIGS / "demo_fuson.py")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"model": {"network": {"head": {"candidats": 3}}}},
            r"model\.network\.head\.candidats: CenterHead .*candidates",
        ),
        ({"train_dataloader": {"shufle": True}}, "train_dataloader takes no 'shufle'; did you mean shuffle"),
        ({"randomness": {"sed": 1}}, "did you mean seed"),
        ({"optim_wrapper": {"acumulative_counts": 2}}, "did you mean accumulative_counts"),
    ],
)
def test_keys_inside_the_config(option: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(CONFIGS / "demo_fusion.py", option)


def test_options_that_a_class_takes_though_the_config_does_not_set_them() -> None:
    config = load_config(
        CONFIGS / "demo_fusion.py",
        ["train_cfg.val_interval=2", "train_dataloader.persistent_workers=False", "load_from='a.pth'"],
    )
    assert config.train_cfg.val_interval == 2 and config.load_from == "a.pth"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_variables_that_nothing_reads(tmp_path: Path) -> None:
    write(tmp_path, "base.py", "epochs = 8\nsize = 3\ntrain_cfg = dict(max_epochs=epochs)\n")
    based = "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n"
    used = write(tmp_path, "used.py", based + "model = dict(size=size)\n")
    check_variables(used)
    late = write(tmp_path, "late.py", based + "model = dict(size=size)\nepochs = 3\n")
    with pytest.raises(ConfigError, match=r"late\.py, line 5: nothing reads 'epochs'.*has done so already"):
        check_variables(late)
    misspelt = write(tmp_path, "misspelt.py", based + "model = dict(size=size)\noptim_wraper = dict()\n")
    with pytest.raises(ConfigError, match="nothing reads 'optim_wraper'; did you mean optim_wrapper"):
        check_variables(misspelt)
