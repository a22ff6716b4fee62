"""Learning-rate schedules."""

from __future__ import annotations

from typing import Any

from mmengine.optim import OneCycleLR


class ResumableOneCycleLR(OneCycleLR):
    """The one-cycle schedule (Smith & Topin, 2019) with a state of plain numbers.

    mmengine's own puts a bound method into the checkpoint, which a safe loader refuses to read back.
    """

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().state_dict().items() if not callable(value)}
