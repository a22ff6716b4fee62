"""Our LiDAR branch against mmdet3d's own pillar CenterPoint: same harness, data, schedule and number of samples seen.

Theirs is the model of mmdet3d's centerpoint_pillar02_second_secfpn_nus.py, unchanged. Both train in float32, because
their focal loss clips at 1 - 1e-4, which is 1 in bfloat16.

python tools/create_data.py synthetic --out data/synthetic        (or `make demo`, which makes it)
python benchmarks/peers/centerpoint.py [--data data/synthetic] [--epochs 2] [--lr 0.003 --their-lr 0.001]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training import add_arguments, lidar_config, print_table, train_and_score

# mmdet3d's CenterHead takes its classes in the order of its tasks.
THEIR_CLASSES = (
    "car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian",
    "traffic_cone",
)  # fmt: skip


def their_config(data: Path, epochs: int, lr: float) -> Any:
    """Our config with mmdet3d's model in place of ours."""
    import mmdet3d.models  # registers them
    from mmengine.config import Config

    config = lidar_config(data, epochs, lr)
    folder = Path(mmdet3d.__file__).parent / ".mim" / "configs" / "_base_" / "models"
    model = Config.fromfile(str(folder / "centerpoint_pillar02_second_secfpn_nus.py")).model
    extent = config.point_cloud_range
    model.data_preprocessor.voxel_layer.point_cloud_range = extent
    model.pts_voxel_encoder.point_cloud_range = extent
    model.pts_bbox_head.bbox_coder.pc_range = extent[:2]
    model.train_cfg.pts.point_cloud_range = extent
    config.model = model
    for dataloader in (config.train_dataloader, config.test_dataloader):
        dataloader.dataset.metainfo = {"classes": THEIR_CLASSES}
    return config


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, "work_dirs/peers", epochs=2)
    parser.add_argument("--their-lr", type=float, default=1e-3, help="theirs; 1e-3 is mmdet3d's (default: %(default)s)")
    parser.add_argument("--only", choices=("ours", "centerpoint"), help="run one of the two")
    args = parser.parse_args()
    try:
        configs = {
            "ours": lidar_config(args.data, args.epochs, args.lr),
            "centerpoint": their_config(args.data, args.epochs, args.their_lr),
        }
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    wanted = [args.only] if args.only else list(configs)
    print_table([train_and_score(name, configs[name], args.work_dir) for name in wanted])
    return 0


if __name__ == "__main__":
    sys.exit(main())
