"""What the recipes share: a run that goes on to its last step, saved on the way, and the average that follows."""

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def carry_on(run, step: Callable[[], dict[str, float]], until: int, save: Callable[[], None], every: float) -> None:
    """Take steps of `run` until so many are done; print losses on the way, and `save` each `every` seconds and last."""
    start = saved = time.time()
    while run.step < until:
        losses = step()
        if run.step % 50 == 0:
            words = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            print(f"{time.time() - start:.0f} s, step {run.step}: {words}", flush=True)
        if time.time() - saved > every:
            save()
            saved = time.time()
    save()


@torch.no_grad()
def follow(pairs: Iterable[tuple[Tensor, Tensor]], step: int, most: float) -> None:
    """Of (average, value): each average follows its value, closely at first; later it keeps `most` of itself."""
    keep = min(most, (1 + step) / (10 + step))
    for average, value in pairs:
        average.lerp_(value, 1 - keep)
