"""Where NaN or infinity first appears when a batch is run: in the data, the weights, forward or backward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from perception.engine.bad_batch import inputs_of, restore_random_state, tokens_of
from perception.head.object_count import counting_alone


def first_bad(model: BaseModel, batch: Any, optim_wrapper: OptimWrapper, random: Mapping[str, Any]) -> str | None:
    """The first tensor of a training step that is not finite, in words, or None where all are.

    In this order: the samples' inputs and boxes, the parameters, the outputs of modules (the innermost module that
    finished first), the losses, the gradients at the outputs of modules in the order of the backward pass, and those of
    parameters. The model's gradients are cleared, and running statistics see the batch once more.

    Args:
        model: a detector of mmengine, not wrapped.
        batch: what its data loader gives.
        optim_wrapper: whose precision the step runs in.
        random: as `random_state` gives it, from before the step.
    """
    return bad_input(batch) or _in_parameters(model) or _in_step(model, batch, optim_wrapper, random)


def bad_input(batch: Any) -> str | None:
    """The first input or ground truth box of a batch that is not finite, in words; velocities may be NaN: unknown."""
    tokens = tokens_of(batch)
    for name, values in inputs_of(batch).items():
        for token, value in zip(tokens, values, strict=True):
            if kind := _kind(value):
                return f"{kind} in the input {name} of sample {token}"
    for token, sample in zip(tokens, batch["data_samples"], strict=True):
        if "gt_instances_3d" in sample and (kind := _kind(sample.gt_instances_3d.bboxes_3d.tensor[:, :7])):
            return f"{kind} in a ground truth box of sample {token}"
    return None


def _in_parameters(model: nn.Module) -> str | None:
    for name, parameter in model.named_parameters():
        if kind := _kind(parameter):
            return f"{kind} in the parameter {name}, before the step"
    return None


def _in_step(model: BaseModel, batch: Any, optim_wrapper: OptimWrapper, random: Mapping[str, Any]) -> str | None:
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, args: Any, output: Any) -> None:
            for tensor in _tensors(output):
                if (kind := _kind(tensor)) and not found:
                    found.append(f"{kind} in the output of {name}")
                if tensor.requires_grad:
                    tensor.register_hook(lambda gradient: look_back(gradient))

        def look_back(gradient: Tensor) -> None:
            if (kind := _kind(gradient)) and not found:
                found.append(f"{kind} in the gradient at the output of {name}")

        return look

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        restore_random_state(random)
        model.zero_grad(set_to_none=True)
        with optim_wrapper.optim_context(model), counting_alone():
            data = model.data_preprocessor(batch, True)
            losses = model(**data, mode="loss")
        if found:
            return found[0]
        for name, value in losses.items():
            for tensor in _tensors(value):
                if kind := _kind(tensor):
                    return f"{kind} in {name}"
        model.parse_losses(losses)[0].backward()
        if found:
            return found[0]
        for name, parameter in reversed(list(model.named_parameters())):
            if parameter.grad is not None and (kind := _kind(parameter.grad)):
                return f"{kind} in the gradient of the parameter {name}"
        return None
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)


def _kind(tensor: Tensor) -> str | None:
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return None
    return "NaN" if bool(torch.isnan(tensor).any()) else "infinity"


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
