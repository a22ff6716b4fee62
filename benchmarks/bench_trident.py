"""The trident backbone, ResNet-50 to conv4, on six 256 x 704 images: three branches, and Fast's one, against plain.

Forward, float32, eval mode, channels-last. `ours` is the trident network, `other` a plain ResNet of the same weights or
mmdet's TridentResNet, so that the time over plain is 1 / ratio. What theory allows is printed first: the
multiply-adds of each number of trident blocks over the plain network's. Floor: multiply-adds at `compute_rate`.

python benchmarks/bench_trident.py [--depth 50] [--repeats 7] [--cpu-time]
"""

from __future__ import annotations

import argparse
import time

import torch
from timing import compare, compute_rate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from perception.camera.trident import STAGE_BLOCKS, TridentResNet

IMAGES, HEIGHT, WIDTH = 6, 256, 704


def flops(net: nn.Module, images: torch.Tensor) -> int:
    """Operations of one forward, two for each multiply-add."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(images)
    return counter.get_total_flops()


def same_weights(net: TridentResNet, **arguments: object) -> TridentResNet:
    """A network of the same weights with other branches, ready to run."""
    other = TridentResNet(**arguments)  # type: ignore[arg-type]
    other.load_state_dict(net.state_dict())
    return other.eval().to(memory_format=torch.channels_last)


def mmdets(net: TridentResNet, depth: int) -> nn.Module:
    """mmdet's backbone with the same weights, all three branches."""
    import perception.engine  # noqa: F401

    # isort: split
    from mmdet.models.backbones import TridentResNet as MMDetTrident

    theirs = MMDetTrident(
        depth=depth, num_branch=3, test_branch_idx=-1, trident_dilations=(1, 2, 3), num_stages=3, strides=(1, 2, 2),
        dilations=(1, 1, 1), out_indices=(2,), norm_cfg={"type": "BN"},
    )  # fmt: skip
    theirs.load_state_dict(net.state_dict())
    theirs.eval()  # which returns nothing
    return theirs.to(memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=50, choices=(50, 101))
    parser.add_argument("--repeats", type=int, default=7, help="runs of each (default: %(default)s)")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="seconds of the processor, not the wall's: for a machine that others use",
    )
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    torch.manual_seed(0)
    blocks = STAGE_BLOCKS[args.depth][2]
    images = torch.randn(IMAGES, 3, HEIGHT, WIDTH).contiguous(memory_format=torch.channels_last)
    plain = TridentResNet(args.depth, (1,)).eval().to(memory_format=torch.channels_last)
    nets = {n: same_weights(plain, depth=args.depth, trident_blocks=n) for n in sorted({4, blocks - 1, blocks})}
    fast = same_weights(plain, depth=args.depth, dilations=(2,), trident_blocks=blocks - 1)
    operations = {n: flops(net, images) for n, net in nets.items()}
    base = flops(plain, images)
    for n, count in operations.items():
        print(f"{n} of {blocks} blocks: {count / base:.2f} times the multiply-adds of plain ({base / 2e9:.1f} G)")
    rate = compute_rate(clock=clock)
    with torch.no_grad():
        for n, net in nets.items():
            compare(
                f"trident R{args.depth}, {n} of {blocks} blocks", lambda net=net: net(images), lambda: plain(images),
                "plain", 1e3 * operations[n] / rate, args.repeats, clock=clock,
            )  # fmt: skip
        compare(
            f"trident R{args.depth} fast", lambda: fast(images), lambda: plain(images), "plain", 1e3 * base / rate,
            args.repeats, clock=clock,
        )  # fmt: skip
        theirs, every = mmdets(plain, args.depth), nets[blocks]
        ours, expected = every(images[:1])[1].flatten(0, 1), theirs(images[:1])[0]
        if float((ours - expected).abs().max()) > 1e-4 * float(expected.abs().max()):
            raise RuntimeError("features differ from mmdet's")
        compare(
            f"trident R{args.depth}, {blocks} of {blocks} blocks", lambda: every(images), lambda: theirs(images),
            "mmdet", 1e3 * operations[blocks] / rate, args.repeats, clock=clock,
        )  # fmt: skip


if __name__ == "__main__":
    main()
