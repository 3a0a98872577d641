"""Arithmetic that repeats: the same call on the same machine gives the same bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable() -> Iterator[None]:
    """Ask cuDNN for algorithms that add in a fixed order, and for full float32 products in place of TF32.

    On the CPU nothing changes. On CUDA the backward pass of bilinear resizing (`Perceptual` on small images,
    `ClassScore`) still adds in any order: those objectives repeat to rounding only.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision
    cudnn.deterministic, cudnn.benchmark = True, False
    cudnn.conv.fp32_precision = matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision = before
