"""Arithmetic that repeats: the same call on the same machine gives the same bits."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0  # how many, over all threads, ask for it now: the switches are torch's, and one for the process
_before: tuple = ()  # the switches as the first of them found them


@contextmanager
def repeatable() -> Iterator[None]:
    """Ask cuDNN for algorithms that add in a fixed order, and for full float32 products in place of TF32.

    Threads may be inside at once: the first one in turns the switches, and the last one out turns them back.

    On the CPU nothing changes. On CUDA the backward pass of bilinear resizing (`Perceptual` on small images,
    `ClassScore`) still adds in any order: those objectives repeat to rounding only.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = _switches()
            _turn(True, False, "ieee", "ieee")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _turn(*_before)


def _switches() -> tuple:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision


def _turn(deterministic: bool, benchmark: bool, convolutions: str, products: str) -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
    cudnn.conv.fp32_precision, matmul.fp32_precision = convolutions, products


def _after_fork() -> None:
    """In a child only the thread that forked is left: nobody holds the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
