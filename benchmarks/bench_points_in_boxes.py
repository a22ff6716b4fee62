"""Which of 70 boxes holds each of 300,000 points, against a broadcast comparison in torch.

Floor: points, boxes and result once through memory at copy bandwidth.
"""

from __future__ import annotations

from gpu_cases import points_in_boxes_case
from timing import compare, copy_bandwidth


def main() -> None:
    case = points_in_boxes_case("cpu", small=False)
    if not case.ours().equal(case.other()):
        raise RuntimeError("the broadcast comparison finds other boxes")
    floor_ms = 1e3 * case.moved_bytes / copy_bandwidth()
    compare(case.name, case.ours, case.other, case.other_name, floor_ms)


if __name__ == "__main__":
    main()
