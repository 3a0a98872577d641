"""Linear measurement operators: y = A(x), with their adjoint, norm, row subsets and composition.

Images come in as (B, C, H, W), measurements go out as (B, *shape_out). An operator is an `nn.Module`: what it holds
follows `A.to(device, dtype)`, and images must have its device and dtype. It is made on the CPU in float32, and is the
same operator, with the same numbers, wherever it is moved.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ilo.checks import check_count, check_kind, check_positive, check_probability, shown
from ilo.rng import Rng, normal, stream


class LinearOperator(nn.Module):
    """A linear map from images of shape `shape_in` to measurements of shape `shape_out`, both without the batch.

    A subclass gives `_forward`, from which automatic differentiation makes the adjoint, or `_adjoint` too; both may
    rely on the shape, dtype and device of what they get. Where it knows better it overrides `units`, `picture`, `rows`
    and `_norm`.
    """

    def __init__(self, shape_in: Sequence[int], shape_out: Sequence[int]):
        super().__init__()
        self.shape_in, self.shape_out = tuple(shape_in), tuple(shape_out)
        self._cached_norm: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return A x, shape (B, *shape_out), for images `x` of shape (B, *shape_in)."""
        self._check(x, self.shape_in, "images")
        return self._forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return Aᵀ y, shape (B, *shape_in), for measurements `y` of shape (B, *shape_out)."""
        self._check(y, self.shape_out, "measurements")
        return self._adjoint(y)

    def norm(self) -> float:
        """Return the largest singular value: in closed form where there is one, else to a relative 1e-4 or better.

        It is computed at the first call and kept.
        """
        if self._cached_norm is None:
            self._cached_norm = self._norm()
        return self._cached_norm

    def rows(self, index: Tensor | Sequence[int]) -> "LinearOperator":
        """Return the operator that measures only the entries `index` of the flattened output.

        `index` holds distinct integers in 0 … M − 1, M the number of measurements. The result measures
        ``A(x).flatten(1)[:, index]``, of shape (B, len(index)).
        """
        return Rows(self, index)

    def units(self) -> Tensor:
        """Return, for every entry of the flattened output, the number of the unit it belongs to, shape (M,).

        The entries of a unit are measured together, or not at all: `split` never separates them. Where the
        output has several axes, the first one holds the channels of a unit. Numbers are kept by `rows`.
        """
        size = math.prod(self.shape_out[1:]) if len(self.shape_out) > 1 else self.shape_out[0]
        return torch.arange(math.prod(self.shape_out)) % size

    def split(self, fraction: float, rng: Rng) -> tuple[Tensor, Tensor]:
        """Divide the flattened output at random into (kept, held out): two sorted index tensors on the CPU.

        A `fraction` of the units, rounded and at least one of each part, is held out. Use
        ``A.rows(kept)`` with ``y.flatten(1)[:, kept]``.

        Raises:
            ValueError: if `fraction` lies outside (0, 1), or there are fewer than two units.
        """
        check_probability(fraction, "the fraction to hold out")
        units = self.units()
        names = units.unique()
        if len(names) < 2:
            raise ValueError(
                f"cannot hold out measurements: {type(self).__name__} has {len(names)} unit of measurement, "
                "and at least 2 are needed (one to fit, one to judge by)"
            )
        n = min(max(1, round(fraction * len(names))), len(names) - 1)
        order = torch.randperm(len(names), generator=stream(rng, "held out"))
        held = torch.isin(units, names[order[:n]])
        return (~held).nonzero().flatten(), held.nonzero().flatten()

    def picture(self, y: Tensor) -> Tensor:
        """Show measurements `y` (B, *shape_out) as images (B, *shape_in) in [−1, 1], for people to look at.

        Here, where measurements are no picture: Aᵀ y, each divided by its largest magnitude.
        """
        x = self.adjoint(y)
        peak = x.abs().amax(dim=tuple(range(1, x.ndim)), keepdim=True)
        return x / torch.where(peak > 0, peak, 1)

    @property
    def dtype(self) -> torch.dtype:
        """The floating dtype of what the operator holds; PyTorch's default if it holds none and takes any."""
        held = next((b.dtype for b in self._held() if b.is_floating_point()), None)
        return held or torch.get_default_dtype()

    @property
    def device(self) -> torch.device:
        """Where what the operator holds is; the CPU if it holds nothing and takes images from anywhere."""
        return next((b.device for b in self._held()), torch.device("cpu"))

    def __matmul__(self, inner: "LinearOperator") -> "LinearOperator":
        return Composition(self, inner) if isinstance(inner, LinearOperator) else NotImplemented

    def extra_repr(self) -> str:
        return f"{self.shape_in} -> {self.shape_out}"

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _forward(x): (B, *shape_in) -> (B, *shape_out)")

    def _adjoint(self, y: Tensor) -> Tensor:
        zero = y.new_zeros(len(y), *self.shape_in)
        return torch.func.vjp(self._forward, zero)[1](y)[0]

    def _norm(self) -> float:
        return spectral_norm(self)

    def _held(self) -> Iterable[Tensor]:
        """What has the dtype and device that images must have."""
        return self.buffers()

    def _check(self, x: Tensor, shape: tuple[int, ...], what: str) -> None:
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes {what} as a torch.Tensor (B, {_list(shape)}), got {type(x).__name__}")
        if tuple(x.shape[1:]) != shape or x.ndim != len(shape) + 1:
            hint = "; add the batch axis: x[None]" if tuple(x.shape) == shape else ""
            raise ValueError(f"{name} takes {what} of shape (B, {_list(shape)}), got {tuple(x.shape)}{hint}")
        if not x.is_floating_point():
            raise ValueError(f"{name} takes floating-point {what}, got {x.dtype}: convert with x.float()")
        for held in self._held():
            if held.is_floating_point() and held.dtype != x.dtype:
                raise ValueError(f"the {what} are {x.dtype} but {name} is {held.dtype}: use A.to({x.dtype})")
            if held.device != x.device:
                raise ValueError(f"the {what} are on {x.device} but {name} is on {held.device}: use A.to(x.device)")


class Composed:
    """outer ∘ inner, whatever kind of operator the two make: what `Composition` and `Chain` have in common."""

    def __init__(self, outer, inner):
        if outer.shape_in != inner.shape_out:
            raise ValueError(
                f"outer @ inner needs the shape that inner measures, {inner.shape_out}, "
                f"to be the one that outer takes, {outer.shape_in}"
            )
        super().__init__(inner.shape_in, outer.shape_out)
        self.outer, self.inner = outer, inner

    def rows(self, index: Tensor | Sequence[int]):
        return type(self)(self.outer.rows(index), self.inner)

    def units(self) -> Tensor:
        return self.outer.units()

    def picture(self, y: Tensor) -> Tensor:
        return self.inner.picture(self.outer.picture(y))

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))


class Composition(Composed, LinearOperator):
    """outer ∘ inner: measures outer(inner(x)). Written ``outer @ inner``."""

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


class Rows(LinearOperator):
    """The entries `index` of the flattened output of `full`; see `LinearOperator.rows`."""

    def __init__(self, full: LinearOperator, index: Tensor | Sequence[int]):
        index = check_index(index, math.prod(full.shape_out))
        super().__init__(full.shape_in, (len(index),))
        self.full = full
        self.register_buffer("index", index.to(full.device))

    def rows(self, index: Tensor | Sequence[int]) -> LinearOperator:
        index = check_index(index, len(self.index))
        return self.full.rows(self.index.cpu()[index])

    def units(self) -> Tensor:
        return self.full.units()[self.index.cpu()]

    def picture(self, y: Tensor) -> Tensor:
        return self.full.picture(self._scatter(y))

    def _forward(self, x: Tensor) -> Tensor:
        return self.full(x).flatten(1).index_select(1, self.index)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.full.adjoint(self._scatter(y))

    def _scatter(self, y: Tensor) -> Tensor:
        full = y.new_zeros(len(y), math.prod(self.full.shape_out))
        return full.index_copy(1, self.index, y).view(len(y), *self.full.shape_out)


@torch.no_grad()
def spectral_norm(A: LinearOperator, tolerance: float = 1e-6, max_steps: int = 500) -> float:
    """Return the largest singular value of `A` by Lanczos' method, from a fixed start.

    The method runs on Aᵀ A or A Aᵀ, whichever is smaller, with full reorthogonalisation, until the residual of its
    largest Ritz pair is below `tolerance` of the value; after `max_steps` it returns what it has, a lower bound.
    (Power iteration would need some hundred times the products on random matrices, whose largest singular values
    crowd.)
    """
    check_kind(A, LinearOperator, "the operator A")
    tolerance, max_steps = check_positive(tolerance, "tolerance"), check_count(max_steps, "max_steps")
    wide = math.prod(A.shape_out) < math.prod(A.shape_in)
    shape = A.shape_out if wide else A.shape_in
    size = math.prod(shape)

    def gram(v: Tensor) -> Tensor:
        v = v.view(1, *shape)
        return (A(A.adjoint(v)) if wide else A.adjoint(A(v))).flatten()

    q = normal(0, 1, (size,), purpose="direction", dtype=A.dtype, device=A.device).flatten()
    basis = [q / q.norm()]
    alphas, betas, value = [], [], 0.0
    for _ in range(min(max_steps, size)):
        w = gram(basis[-1])
        alphas.append(float(w @ basis[-1]))
        Q = torch.stack(basis)  # (steps, size)
        for _ in range(2):  # once is not enough in floating point
            w = w - Q.T @ (Q @ w)
        beta = float(w.norm())
        T = torch.diag(torch.tensor(alphas, dtype=torch.float64))
        if betas:
            off = torch.tensor(betas, dtype=torch.float64)
            T = T + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(T)
        value = float(values[-1])
        if beta * abs(float(vectors[-1, -1])) <= tolerance * value:
            break
        betas.append(beta)
        basis.append(w / beta)
    return math.sqrt(max(value, 0.0))


def check_index(index: Tensor | Sequence[int], size: int) -> Tensor:
    """Return `index` as an int64 tensor on the CPU; ValueError unless it holds distinct integers in 0 … size − 1."""
    try:
        index = torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"row indices must be a list of integers, got {shown(index)}") from error
    if (
        index.is_complex()
        or index.ndim != 1
        or len(index) == 0
        or index.is_floating_point()
        or index.dtype == torch.bool
    ):
        raise ValueError(f"rows are chosen by a list of integers, got {index.dtype} of shape {tuple(index.shape)}")
    index = index.to("cpu", torch.int64)
    if index.min() < 0 or index.max() >= size:
        raise ValueError(f"row indices must lie in 0 … {size - 1}, got {int(index.min())} … {int(index.max())}")
    if len(index.unique()) != len(index):
        raise ValueError("row indices must be distinct")
    return index


def _list(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
