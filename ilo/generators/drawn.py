"""What is found from a generator's samples, and the images themselves: made once, however many problems ask for it."""

import math
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.generators.base import Generator
from ilo.rng import Rng, seed_of

MOST, TOGETHER = 128, 2**22  # images, and numbers of them, that run at once
KEPT = 2**24  # numbers, 64 MB: 1024 images of 64 × 64 pixels fit, those of a large generator do not
_kept: "weakref.WeakKeyDictionary[Generator, dict[str, tuple[Hashable, object]]]" = weakref.WeakKeyDictionary()
Made = TypeVar("Made")


def kept(
    G: Generator, name: str, arguments: Hashable, make: Callable[[], Made], numbers: Callable[[Made], int]
) -> Made:
    """Return ``make()``, or what it made the last time for the same generator, name and arguments.

    Of each name the last is kept while the generator lives, if its `numbers` are at most `KEPT`; it is made anew when
    the weights have changed or moved. Who takes it must not write on it.
    """
    found = _found(G, name, arguments)
    if found is None:
        found = make()
        if numbers(found) <= KEPT:
            _keep(G, name, arguments, found)
    return found


@torch.no_grad()
def drawn_images(G: Generator, n: int, rng: Rng, purpose: str, batch: int | None = None) -> Iterator[Tensor]:
    """Yield the images of ``G.sample(n, rng, purpose)`` in their order, at most `batch` at a time, (·, C, H, W).

    They are `kept` by their purpose, so who takes them must not write on them. batch: None: 128 of 64 × 64 pixels,
    fewer of larger ones, and at least 1.
    """
    seed = seed_of(rng)
    batch = batch or max(1, min(MOST, TOGETHER // math.prod(G.image_shape)))
    name, arguments = f"images, {purpose}", (n, seed, batch)
    if (found := _found(G, name, arguments)) is not None:
        yield from found
        return
    states = G.sample(n, seed, purpose)
    parts = []
    for begin in range(0, n, batch):
        with repeatable():
            images = G({name: t[begin : begin + batch] for name, t in states.items()})
        if n * images[0].numel() <= KEPT:
            parts.append(images)
        yield images
    if parts:
        _keep(G, name, arguments, parts)


def _found(G: Generator, name: str, arguments: Hashable) -> object:
    key, made = _kept.get(G, {}).get(name, (None, None))
    return made if key == (arguments, _weights(G)) else None


def _keep(G: Generator, name: str, arguments: Hashable, made: object) -> None:
    _kept.setdefault(G, {})[name] = ((arguments, _weights(G)), made)


def _weights(G: Generator) -> Hashable:
    """What differs when a weight has been written to, replaced, moved or converted."""
    return tuple((t.data_ptr(), t._version, t.dtype) for t in (*G.parameters(), *G.buffers()))
