"""Muon for every weight matrix, convolutions included, and AdamW for the rest, as one optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn
from torch.optim.adamw import adamw

from perception.engine.amp import has_fast_bfloat16

# Of the iteration that brings all singular values to between 0.7 and 1.2 in five steps (Jordan et al., 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


@OPTIMIZERS.register_module()
class MuonAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) where a parameter is a
    matrix, AdamW (Loshchilov & Hutter, ICLR 2019) where it is not.

    A convolution's kernel is a matrix of its output channels by all else. torch.optim.Muon takes parameters of two
    dimensions only, and mmengine's optimizer wrapper one optimizer.

    Args:
        params, lr, weight_decay: as AdamW takes them. A matrix's update is scaled to the size of AdamW's (0.2
            sqrt(max(rows, columns)), Liu et al., arXiv 2502.16982, section 2.2), so that both share a learning rate.
        momentum: Nesterov's, of the matrices.
        betas, eps: AdamW's, of all else.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learnt = [parameter for parameter in group["params"] if parameter.grad is not None]
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in learnt:
                if parameter.ndim > 1:
                    alike[parameter.shape].append(parameter)
            for matrices in alike.values():
                self._muon(matrices, group)
            self._adamw([parameter for parameter in learnt if parameter.ndim <= 1], group)
        return loss

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Update parameters of one shape."""
        updates = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - group["momentum"])
            updates.append(gradient.lerp(state["momentum"], group["momentum"]).flatten(1))
        for parameter, update in zip(parameters, orthogonal(torch.stack(updates)), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(update.view(parameter.shape), alpha=0.2 * max(update.shape) ** 0.5 * group["lr"])

    def _adamw(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            list[Tensor](parameters),
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["mean"] for state in states],
            [state["square"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            maximize=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )


def orthogonal(matrices: Tensor) -> Tensor:
    """[N,R,C] float32 -> [N,R,C] float32: nearly U V^T of each matrix's U S V^T, with singular values between 0.7 and
    1.2 in place of ones (but for those below a thousandth of the matrix's norm, which grow less)."""
    x = matrices.to(torch.bfloat16 if has_fast_bfloat16(matrices.device.type) else torch.float32)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
