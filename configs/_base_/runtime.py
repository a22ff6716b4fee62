"""What every run shares: logging, checkpoints, reproducibility."""

from mmengine.hooks import DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.runner import LogProcessor
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend, Visualizer

import perception.engine  # noqa: F401
from perception.engine.bad_data_report import BadDataReport
from perception.engine.finite import FiniteGuard
from perception.engine.progress import ProgressBarHook
from perception.engine.randomness import EpochSeedHook
from perception.engine.saving import SafeCheckpointHook

default_scope = "mmdet3d"
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, interval=10),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=SafeCheckpointHook, interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type=DistSamplerSeedHook),
    epoch_seed=dict(type=EpochSeedHook),
    bad_data=dict(type=BadDataReport),
    finite=dict(type=FiniteGuard),
    progress=dict(type=ProgressBarHook),
)
log_processor = dict(type=LogProcessor, window_size=20, by_epoch=True)
visualizer = dict(type=Visualizer, vis_backends=[dict(type=LocalVisBackend), dict(type=TensorboardVisBackend)])
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
randomness = dict(seed=0)
log_level = "INFO"
load_from = None
resume = False
