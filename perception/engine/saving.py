"""Checkpoints that a kill or a full disk cannot take away."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from perception.whole_file import remove_leftovers, whole_file

BACKEND = "whole_file"


class WholeFileBackend(LocalBackend):
    """mmengine's files on the local disk, each written beside its place and renamed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with whole_file(filepath, "wb") as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        self.put(obj.encode(encoding), filepath)


register_backend(BACKEND, WholeFileBackend, force=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, which survives being killed at any moment.

    A checkpoint appears whole or not at all; `last_checkpoint` names it only then, and only then are older ones
    removed, where mmengine removes one first and writes in place. What a killed run left half-written is removed when
    training starts. The arguments are mmengine's.

    Raises OSError, with the checkpoint that is safe in its message, where one cannot be written.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"backend_args": {"backend": BACKEND}, **kwargs})
        self.last_ckpt: str | None = None

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if is_main_process():
            for path in remove_leftovers(runner.work_dir):
                runner.logger.info(f"removed {path.name}, which a killed run left half-written")

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        kept = [number for number in getattr(self, "keep_ckpt_ids", ()) if number != step] + [step]
        if self.max_keep_ckpts > 0:
            # With the one too many: a run that is killed before it is removed removes it when it goes on.
            runner.message_hub.update_info("keep_ckpt_ids", kept)
        name = self.filename_tmpl.format(step)
        previous = self.last_ckpt
        self.last_ckpt = os.path.join(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                with whole_file(Path(runner.work_dir) / "last_checkpoint") as file:
                    file.write(self.last_ckpt)
        except OSError as error:
            safe = f"{previous} is whole" if previous else "earlier checkpoints are as they were"
            raise OSError(
                error.errno, f"checkpoint {self.last_ckpt} cannot be written ({error.strerror or error}); {safe}: "
                "make room, then go on with --resume"
            ) from error  # fmt: skip
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
            for number in kept[: -self.max_keep_ckpts]:
                if is_main_process():
                    Path(self.out_dir, self.filename_tmpl.format(number)).unlink(missing_ok=True)
