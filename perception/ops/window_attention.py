"""Attention inside ragged windows: every token attends to the tokens of its own window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def window_attention(
    q: Tensor,  # [T,heads,D]
    k: Tensor,  # [T,heads,D]
    v: Tensor,  # [T,heads,D]
    order: Tensor,  # [T] int64, tokens ordered by window
    offsets: Tensor,  # [W+1] int64
    scale: float,
    temperature: Tensor | None = None,  # [heads]
) -> Tensor:  # [T,heads,D]
    """softmax(scale * q k^T) v inside each window; no token is dropped.

    With `temperature` it is the cosine form (Swin v2; SSTv2's CosineMultiheadAttention): q and k are normalised to unit
    length and the logits are divided by the head's temperature instead of multiplied by the scale.

    Windows are padded to a few sizes here, one batched attention for each size.

    Raises:
        ValueError: q, k and v differ in shape.
    """
    if not q.shape == k.shape == v.shape:
        raise ValueError(
            f"q, k and v must have one shape [T,heads,D], got {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
    if temperature is not None:
        q = F.normalize(q, dim=-1) / temperature[:, None].to(q.dtype)
        k = F.normalize(k, dim=-1)
        scale = 1.0
    out = torch.zeros_like(v)
    counts = offsets.diff()
    size = 4
    done = torch.zeros_like(counts, dtype=torch.bool)
    while not bool(done.all()):
        windows = torch.nonzero(~done & (counts <= size)).flatten()
        done[windows] = True
        if len(windows):
            slot = torch.arange(min(size, int(counts.max())), device=q.device)
            valid = slot < counts[windows, None]
            token = order[torch.where(valid, offsets[windows, None] + slot, 0)]
            q_w, k_w, v_w = (t[token].transpose(1, 2) for t in (q, k, v))
            mask = valid[:, None, None, :]
            attended = F.scaled_dot_product_attention(q_w, k_w, v_w, attn_mask=mask, scale=scale).transpose(1, 2)
            out = out.index_put((token[valid],), attended[valid].to(out.dtype))
        size *= 2
    return out
