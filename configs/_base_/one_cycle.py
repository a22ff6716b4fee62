"""AdamW, one cycle, bfloat16, gradient clipping and EMA: CenterPoint's schedule."""

from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from torch.optim import AdamW

from perception.engine.amp import Bfloat16OptimWrapper
from perception.engine.schedule import ResumableOneCycleLR

optim_wrapper = dict(
    type=Bfloat16OptimWrapper,
    # CenterPoint: 1e-3 at the top for a batch of 32; scale with the batch.
    optimizer=dict(type=AdamW, lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=35.0),
)
param_scheduler = [
    dict(
        type=ResumableOneCycleLR,
        eta_max=1e-3,
        total_steps=20,
        by_epoch=True,
        convert_to_iter_based=True,
        pct_start=0.4,
    )
]
custom_hooks = [dict(type=EMAHook, ema_type=ExponentialMovingAverage, momentum=0.001)]
