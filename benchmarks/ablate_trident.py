"""TridentNet in 2D, ablated on the synthetic images: a plain backbone, TridentNet Fast, and TridentNet.

configs/trident_2d_demo.py for each: the same data, steps, images per step and seeds. As in the paper, the plain
detector has one branch of dilation 1; Fast trains three branches on objects of every size and runs the middle one; the
full one trains and tests each branch on its range. The plain detector samples three times as many regions and anchors
per image, so that all learn from as many.
"dilation2" and "dilation3" are the plain detector at another dilation, the paper's own first experiment: only where a
larger one finds large objects better and small ones worse is there anything for three branches to gain.

python tools/create_data.py coco2d ...                 (configs/trident_2d_demo.py says how)
python benchmarks/ablate_trident.py [--data data/synthetic] [--seeds 0 1 2] [--only plain fast full dilation2 dilation3]
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import seeds

import perception.detection2d  # noqa: F401  (mmdet imports on mmcv-lite after this)
from perception.engine.run import evaluate, load_config, train

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "trident_2d_demo.py"
SCORES = ("AP", "AP50", "AP_S", "AP_M", "AP_L")
BRANCHES = 3


def one_branch(dilation: int) -> dict[str, Any]:
    """What makes a plain detector of the demo's config."""
    return {
        "model.backbone.dilations": (dilation,),
        "model.valid_ranges": None,
        "model.train_cfg.rpn.sampler.num": 128 * BRANCHES,
        "model.train_cfg.rcnn.sampler.num": 64 * BRANCHES,
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": one_branch(1),
    "fast": {"model.valid_ranges": None, "model.test_branch": 1},
    "full": {},
    "dilation2": one_branch(2),
    "dilation3": one_branch(3),
}


def config_of(variant: str, seed: int, args: argparse.Namespace) -> Any:
    """The demo's config, changed for a variant.

    Raises FileNotFoundError where the data set has no COCO files.
    """
    for split in ("train", "val"):
        if not (args.data / f"coco2d_{split}.json").is_file():
            raise FileNotFoundError(f"no coco2d_{split}.json in {args.data}: tools/create_data.py coco2d makes it")
    config = load_config(
        CONFIG,
        {
            **VARIANTS[variant],
            "train_dataloader.dataset.data_root": f"{args.data}/",
            "test_dataloader.dataset.data_root": f"{args.data}/",
            "test_evaluator.ann_file": str(args.data / "coco2d_val.json"),
            "train_cfg.max_epochs": args.epochs,
            "randomness.seed": seed,
        },
    )
    config.param_scheduler[0].total_steps = args.epochs
    for loader in (config.train_dataloader, config.test_dataloader):
        for step in loader.dataset.pipeline:
            if "scale" in step:
                step["scale"] = tuple(args.size)
    return config


def run(variant: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and score one of them; a run that is finished is read from its folder."""
    work_dir = args.work_dir / f"{variant}_{seed}"
    return seeds.kept(work_dir, args, lambda: train_and_score(variant, seed, args, work_dir))


def train_and_score(variant: str, seed: int, args: argparse.Namespace, work_dir: Path) -> dict[str, Any]:
    config = config_of(variant, seed, args)
    start = time.perf_counter()
    checkpoint = train(copy.deepcopy(config), work_dir)
    train_s = time.perf_counter() - start
    scores = evaluate(copy.deepcopy(config), checkpoint, work_dir / "test")["2d"]
    row = {"name": variant, "seed": seed, **{name: round(100 * scores[name], 2) for name in SCORES}}
    return row | {"train_s": round(train_s), "ms_per_image": round(scores["ms_per_frame"], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "synthetic", help="dataroot with COCO files")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs" / "ablate_trident")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the data (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 288), help="columns and rows (default: 512 288)")
    seeds.add_arguments(parser, tuple(VARIANTS), ("plain", "fast", "full"))
    args = parser.parse_args()
    seeds.print_table(seeds.every_row(lambda name, seed: run(name, seed, args), args), SCORES, "AP")


if __name__ == "__main__":
    main()
