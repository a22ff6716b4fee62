"""What a run went on without, named and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from perception.evaluation.json_file import write_json


@HOOKS.register_module()
class BadDataReport(Hook):
    """Collects the files that samples were loaded without (on_bad_data="skip") in training, validation and testing.

    Each is logged when it is met first; work_dir/bad_files.json (and bad_files_rank1.json .. of other ranks) holds
    {"count": files, "files": {path: {"problem", "samples"}}}, written after every epoch that met one.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}

    def _after_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        for sample in data_batch.get("data_samples", ()) if isinstance(data_batch, dict) else ():
            for bad in sample.metainfo.get("bad_files", ()):
                if bad["path"] not in self.files:
                    runner.logger.warning(f"going on without a bad file: {bad['problem']}")
                entry = self.files.setdefault(bad["path"], {"problem": bad["problem"], "samples": 0})
                entry["samples"] += 1

    def _after_epoch(self, runner: Runner, mode: str = "train") -> None:
        if self.files:
            name = "bad_files.json" if runner.rank == 0 else f"bad_files_rank{runner.rank}.json"
            write_json(Path(runner.work_dir) / name, {"count": len(self.files), "files": self.files}, indent=1)
            runner.logger.warning(f"{len(self.files)} bad files so far, named in {name}")
