"""Masks from points on the synthetic images, small enough for a CPU core (docs/panoptic.md).

tools/create_data.py panoptic --root data/synthetic --every 8
tools/train.py configs/panoptic_demo.py
tools/test.py configs/panoptic_demo.py work_dirs/panoptic_demo/latest.pth
"""

from mmengine.config import read_base
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.runner import EpochBasedTrainLoop, TestLoop
from torch.optim import AdamW

from perception.camera.neck import TridentNeck
from perception.camera.panoptic import PanopticNetwork
from perception.camera.panoptic_head import PanopticHead
from perception.camera.panoptic_loss import PanopticLoss
from perception.camera.pseudo_masks import CostWeights
from perception.camera.trident import TridentResNet
from perception.engine.amp import Bfloat16OptimWrapper
from perception.engine.matching import hungarian
from perception.engine.schedule import ResumableOneCycleLR
from perception.panoptic.dataset import PanopticDataset
from perception.panoptic.model import PanopticPreprocessor, PanopticSegmenter
from perception.panoptic.quality import PanopticMetric

with read_base():
    from ._base_.runtime import *  # noqa: F403

data_root = "data/synthetic"
image_hw = (128, 352)

model = dict(
    type=PanopticSegmenter,
    data_preprocessor=dict(type=PanopticPreprocessor),
    network=dict(
        type=PanopticNetwork,
        backbone=dict(type=TridentResNet, depth=18, base_channels=16),
        neck=dict(type=TridentNeck, in_channels=(32, 64), channels=48),
        head=dict(type=PanopticHead, in_channels=48, things=10, stuff=3, channels=48),
    ),
    loss=dict(type=PanopticLoss, matcher=hungarian, costs=dict(type=CostWeights), warm_up_steps=200),
    supervision="points",
)
dataset = dict(type=PanopticDataset, data_root=data_root, size_hw=image_hw)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(**dataset, ann_file=f"{data_root}/panoptic_train.json", points=1, flip=True, keep=True),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(**dataset, ann_file=f"{data_root}/panoptic_val.json", test_mode=True),
)
test_evaluator = dict(
    type=PanopticMetric, ann_file=f"{data_root}/panoptic_val.json", out_dir="work_dirs/panoptic_demo/test"
)

epochs = 12
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=epochs)
test_cfg = dict(type=TestLoop)
optim_wrapper = dict(
    type=Bfloat16OptimWrapper,
    optimizer=dict(type=AdamW, lr=2e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(
        type=ResumableOneCycleLR,
        eta_max=2e-3,
        total_steps=epochs,
        by_epoch=True,
        convert_to_iter_based=True,
        pct_start=0.2,
    )
]
