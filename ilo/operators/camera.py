"""Cameras: measurements that are a differentiable function of the image, which need not be linear; and chains of them.

A `Camera` has what the automatic search asks of an operator: what is measured together (`units`), a part of the
measurements (`rows`, `split`), and units in which the noise is about the same everywhere (`whitened`). Where a
`LinearOperator` will do, take that: it has an adjoint and a norm besides.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from ilo.checks import check_callable, check_kind
from ilo.operators.base import Composed, LinearOperator, check_index
from ilo.operators.pixels import Entries
from ilo.rng import Rng, seed_of, stream


class Camera(nn.Module):
    """A differentiable map from images of shape `shape_in` to measurements of shape `shape_out`, without the batch.

    A subclass gives `_forward`, what is measured of images on average, and, where it has noise of its own, `draw` and
    `whitened`. Rows of a batch must not see one another. `_forward` gets images that a search may have moved beyond
    [−1, 1], and must stay finite there.
    """

    entrywise = False  # whether `whitened` takes each entry by itself, and −1 for one of which nothing is known

    def __init__(self, shape_in: Sequence[int], shape_out: Sequence[int]):
        super().__init__()
        self.shape_in, self.shape_out = tuple(shape_in), tuple(shape_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is measured of images `x` (B, *shape_in) on average, (B, *shape_out)."""
        if not isinstance(x, Tensor) or x.ndim != 1 + len(self.shape_in) or tuple(x.shape[1:]) != self.shape_in:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"{type(self).__name__} takes images (B, {', '.join(map(str, self.shape_in))}), got {got}")
        return self._forward(x)

    def draw(self, x: Tensor, rng: Rng | Sequence[int] = 0) -> Tensor:
        """Return measurements of `x` with the camera's own noise, (B, *shape_out): here it has none.

        rng: a seed, of which sample i has a stream of its own, or one seed per sample.
        """
        return self(x)

    def whitened(self, y: Tensor) -> tuple["Camera | LinearOperator", Tensor, float | None]:
        """Return (A, y', deviation): `y` (B, *shape_out) in units where the noise is about alike in every entry.

        A measures in these units, y' are the measurements in them, and deviation is the noise's standard deviation
        there; None: not known. A may know of problem b what `y[b]` says: it takes images (copies · B, …), copy by copy.
        """
        return self, y, None

    def shared(self, y: Tensor) -> tuple["Camera", Tensor]:
        """Return (camera, measurements) without what is known of single problems, so that it takes any batch."""
        return self, y

    # what is measured together, and its division at random: both ask for the shape and the units alone
    units = LinearOperator.units
    split = LinearOperator.split

    def rows(self, index: Tensor | Sequence[int]) -> "Camera":
        """Return the camera that measures only the entries `index` of the flattened output, (B, len(index))."""
        return Part(self, index)

    def picture(self, y: Tensor) -> Tensor:
        """Show measurements as images in [−1, 1]: those of an image's shape as they are, others as mid-grey."""
        if tuple(y.shape[1:]) == self.shape_in:
            return y.clamp(-1, 1)
        return y.new_zeros(len(y), *self.shape_in)

    def __matmul__(self, inner: "Camera | LinearOperator") -> "Camera":
        return Chain(self, inner) if isinstance(inner, (Camera, LinearOperator)) else NotImplemented

    def __rmatmul__(self, outer: LinearOperator) -> "Camera":
        return Chain(outer, self) if isinstance(outer, LinearOperator) else NotImplemented

    extra_repr = LinearOperator.extra_repr

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _forward(x): (B, *shape_in) -> (B, *shape_out)")


class Function(Camera):
    """Any differentiable function of images as a camera.

    Args:
        function: images (B, *shape_in) -> measurements (B, *shape_out).
        units: what is measured together, (M,); None: the rule of `Camera.units`.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        shape_in: Sequence[int],
        shape_out: Sequence[int],
        units: Tensor | None = None,
    ):
        super().__init__(shape_in, shape_out)
        self.function, self._units = check_callable(function, "the function"), units

    def units(self) -> Tensor:
        return super().units() if self._units is None else self._units

    def _forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Part(Camera):
    """The entries `index` of the flattened output of `full`."""

    def __init__(self, full: Camera, index: Tensor | Sequence[int]):
        index = check_index(index, math.prod(full.shape_out))
        super().__init__(full.shape_in, (len(index),))
        self.full = full
        self.register_buffer("index", index.to(_device(full)))

    def shared(self, y: Tensor) -> tuple[Camera, Tensor]:
        return Part(self.full.shared(y)[0], self.index.cpu()), y

    def rows(self, index: Tensor | Sequence[int]) -> Camera:
        return self.full.rows(self.index.cpu()[check_index(index, len(self.index))])

    def units(self) -> Tensor:
        return self.full.units()[self.index.cpu()]

    def _forward(self, x: Tensor) -> Tensor:
        return self.full(x).flatten(1).index_select(1, self.index)


class Chain(Composed, Camera):
    """outer ∘ inner, cameras or linear operators: measures outer(inner(x)). Written ``outer @ inner``.

    Drawn measurements have the noise of both: ``photons @ lens`` counts photons behind the lens, ``mask @ jpeg @ …``
    hides part of a compressed picture.
    """

    def draw(self, x: Tensor, rng: Rng | Sequence[int] = 0) -> Tensor:
        seeds = sample_seeds(rng, len(x))
        below = [seed_of(stream(seed, "exposure", 1)) for seed in seeds]  # two noises of a chain are independent
        return _drawn(self.outer, _drawn(self.inner, x, below), seeds)

    def whitened(self, y: Tensor) -> tuple[Camera | LinearOperator, Tensor, float | None]:
        """Those of `outer`, whose deviation is that of the whole where `inner` is linear, and so has no noise.

        Of a mask those of `inner`, where they are entry by entry.
        """
        if isinstance(self.outer, Entries) and getattr(self.inner, "entrywise", False):
            index = self.outer.index
            full = torch.full((len(y), math.prod(self.inner.shape_out)), -1.0).to(y).index_copy(1, index, y.flatten(1))
            inner, full, deviation = self.inner.whitened(full.view(len(y), *self.inner.shape_out))
            return inner.rows(index.cpu()), full.flatten(1)[:, index], deviation
        if isinstance(self.outer, LinearOperator):
            return self, y, None
        outer, y, deviation = self.outer.whitened(y)
        return outer @ self.inner, y, deviation if isinstance(self.inner, LinearOperator) else None

    @property
    def entrywise(self) -> bool:
        return getattr(self.outer, "entrywise", False)


class Weighted(Camera):
    """What `full` measures, every entry times a weight of its own, problem by problem: 0 leaves it out.

    Args:
        full: the camera. y: its measurements of B problems, (B, *shape_out), not yet weighted.
        weights: as `y`, at least 0.

    It takes images (copies · B, …), copy by copy, for any number of copies.
    """

    def __init__(self, full: Camera, y: Tensor, weights: Tensor):
        super().__init__(full.shape_in, full.shape_out)
        self.full = full
        self.register_buffer("y", y)
        self.register_buffer("weights", weights)

    def shared(self, y: Tensor) -> tuple[Camera, Tensor]:
        return self.full, self.y

    def rows(self, index: Tensor | Sequence[int]) -> "Weighted":
        index = check_index(index, math.prod(self.shape_out))
        of = index.to(self.y.device)
        return Weighted(self.full.rows(index), self.y.flatten(1)[:, of], self.weights.flatten(1)[:, of])

    def units(self) -> Tensor:
        return self.full.units()

    def __matmul__(self, inner: Camera | LinearOperator) -> "Weighted":
        return Weighted(Chain(self.full, inner), self.y, self.weights)

    def _forward(self, x: Tensor) -> Tensor:
        copies, odd = divmod(len(x), len(self.weights))
        if odd:
            raise ValueError(f"weights of {len(self.weights)} problems do not fit a batch of {len(x)} images")
        return self.full(x) * self.weights.repeat(copies, *[1] * len(self.shape_out))


def chain(*parts: Camera | LinearOperator) -> Camera | LinearOperator:
    """Return the camera that light meets in this order: ``chain(lens, sensor, file)`` is ``file @ (sensor @ lens)``."""
    if not parts:
        raise ValueError("a chain has at least one part")
    for part in parts:
        check_kind(part, (Camera, LinearOperator), "each part of a chain")
    whole = parts[0]
    for part in parts[1:]:
        whole = part @ whole
    return whole


def sample_seeds(rng: Rng | Sequence[int], n: int) -> list[int]:
    """One seed for each of `n` samples: those that are given, or of one seed a stream each, whatever `n` is."""
    if isinstance(rng, Sequence):
        if len(rng) != n:
            raise ValueError(f"rng holds {len(rng)} seeds for {n} samples: give one seed per sample")
        return [seed_of(seed) for seed in rng]
    seed = seed_of(rng)
    return [seed_of(stream(seed, "exposure", 0, i)) for i in range(n)]


def _drawn(A: Camera | LinearOperator, x: Tensor, seeds: Sequence[int]) -> Tensor:
    return A.draw(x, seeds) if isinstance(A, Camera) else A(x)


def _device(A: nn.Module) -> torch.device:
    held: Iterable[Tensor] = (*A.buffers(), *A.parameters())
    return next((t.device for t in held), torch.device("cpu"))
