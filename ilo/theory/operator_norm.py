"""The l2 operator norm of a convolution on an input of a given size, zero padding included, with a certificate.

A convolution of any stride, transposed or not, is a sum over the taps of its kernel, (a, b) in rows × columns,

    A = Σ_ab R_a ⊗ W_ab ⊗ C_b      on arrays indexed (row, channel, column),

where R_a (H_out, H_in) and C_b (W_out, W_in) are 0/1 matrices that say which input row or column tap a or b carries to
which output one (those that fall into the padding are missing), and W_ab (C_out, C_in) are the kernel's weights. A
linear layer is the case of one row, one column and one tap. Nothing is assumed periodic: the norm is that of the real
layer.

Rows interact only with rows nearby, so AᵀA is block tridiagonal, and s is an upper bound on ‖A‖ exactly if s²I − AᵀA is
positive definite, which a block Cholesky factorisation proves. Lanczos iterations propose s; Cholesky certifies it.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

LARGEST_BLOCK = 16_384  # 2 GB in float64, and a few of them at a time
FIRST_MARGIN = 1e-6  # above what Lanczos found; tried first
ROUNDING = 1e-9  # above what Cholesky certified: far more than float64 rounding can amount to in blocks of this size


@dataclass(frozen=True)
class Taps:
    """A linear map Σ_ab rows[a] ⊗ weights[a, b] ⊗ columns[b] on arrays (row, channel, column).

    rows (kh, H_out, H_in), weights (kh, kw, C_out, C_in), columns (kw, W_out, W_in); float64.
    """

    rows: np.ndarray
    weights: np.ndarray
    columns: np.ndarray

    @property
    def adjoint(self) -> "Taps":
        return Taps(*(part.swapaxes(-1, -2) for part in (self.rows, self.weights, self.columns)))

    @property
    def shape_in(self) -> tuple[int, int, int]:
        return self.rows.shape[2], self.weights.shape[3], self.columns.shape[2]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Apply the map to x (H_in, C_in, W_in); return (H_out, C_out, W_out)."""
        spread = [x @ column.T for column in self.columns]
        mixed = (sum(w @ s for w, s in zip(row, spread, strict=True)) for row in self.weights)
        return sum(np.tensordot(r, m, 1) for r, m in zip(self.rows, mixed, strict=True))


def linear_taps(module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, shape_in, shape_out, scale=1.0) -> Taps:
    """Describe the linear part of `module` as `Taps`, its output channels multiplied by `scale` (a number or (C_out,)).

    `shape_in` and `shape_out` are the shapes (B, C, H, W) of its real input and output; a linear layer ignores them.
    Raises ValueError for padding other than zeros given by numbers.
    """
    weight = module.weight.detach().double().cpu().numpy()
    scale = np.broadcast_to(scale, (weight.shape[0],) if isinstance(module, nn.Linear) else (module.out_channels,))
    if isinstance(module, nn.Linear):
        one = np.ones((1, 1, 1))
        return Taps(one, (scale[:, None] * weight)[None, None], one)
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise ValueError(f"the norm is known for zero padding given by numbers only, not for {module}")
    transposed = isinstance(module, nn.ConvTranspose2d)
    shapes = (shape_out, shape_in) if transposed else (shape_in, shape_out)
    placed = [
        _placements(*(shape[axis] for shape in shapes), kernel, stride, padding, dilation)
        for axis, kernel, stride, padding, dilation in zip(
            (2, 3), module.kernel_size, module.stride, module.padding, module.dilation, strict=True
        )
    ]
    kernel = (
        _ungrouped(weight, module.groups).transpose(2, 3, 0, 1).copy()
    )  # (kh, kw, C_out, C_in); transposed: C_in, C_out
    taps = Taps(placed[0], kernel, placed[1])
    taps = taps.adjoint if transposed else taps
    return Taps(taps.rows, scale[:, None] * taps.weights, taps.columns)


def _placements(size_in: int, size_out: int, kernel: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    """(kernel, size_out, size_in): one where tap a of output o reads input stride·o − padding + dilation·a."""
    tap, out = np.meshgrid(np.arange(kernel), np.arange(size_out), indexing="ij")
    source = stride * out - padding + dilation * tap
    return (source[..., None] == np.arange(size_in)).astype(np.float64)


def _ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """Write a grouped kernel (C, C'/groups or C, …) as the full one that has zeros between groups."""
    blocks = np.split(weight, groups)
    full = np.zeros((weight.shape[0], groups * weight.shape[1], *weight.shape[2:]))
    for g, block in enumerate(blocks):
        a, b = block.shape[:2]
        full[g * a : (g + 1) * a, g * b : (g + 1) * b] = block
    return full


def operator_norm_bound(taps: Taps) -> float:
    """Return an upper bound on the l2 operator norm of `taps`, about 1e-6 (relative) above the norm itself.

    The bound is certified in float64: the Cholesky factorisation of s²I − AᵀA exists. Should Lanczos have missed the
    largest singular value, the factorisation fails and the bound is raised until it succeeds; so it may be loose, never
    too low.
    Raises ValueError if a block of the factorisation would exceed 16384 rows.
    """
    gram = min((_Gram(taps), _Gram(taps.adjoint)), key=lambda g: g.cost)
    if gram.block_size > LARGEST_BLOCK:
        raise ValueError(
            f"certifying this layer takes dense blocks of {gram.block_size} rows (limit {LARGEST_BLOCK}): "
            "its rows of features are too wide; lipschitz_lower_bound has no such limit"
        )
    found = _largest_singular_value(taps)
    margin = FIRST_MARGIN
    while not gram.is_below((1 + margin) * found):
        margin *= 10
    return (1 + margin) * (1 + ROUNDING) * found


def _largest_singular_value(taps: Taps) -> float:
    """Estimate the norm from below by Lanczos iterations on AᵀA."""
    n = int(np.prod(taps.shape_in))
    start = np.random.default_rng(0).standard_normal(n)

    def gram(x: np.ndarray) -> np.ndarray:
        return taps.adjoint(taps(x.reshape(taps.shape_in))).ravel()

    if not gram(start).any():
        values = [0.0]
    elif n < 16:  # too small for Lanczos
        values = np.linalg.eigvalsh(np.stack([gram(e) for e in np.eye(n)]))
    else:
        values = eigsh(
            LinearOperator((n, n), gram, dtype=np.float64), k=1, v0=start, tol=1e-7, return_eigenvectors=False
        )
    return float(np.sqrt(max(values[-1], np.finfo(np.float64).tiny)))


class _Gram:
    """AᵀA in blocks of so many neighbouring rows that it is block tridiagonal."""

    def __init__(self, taps: Taps):
        self.taps = taps
        rows, channels, columns = taps.shape_in
        self.meets = np.einsum("aoi,boj->abij", taps.rows, taps.rows)  # taps a of row i and b of row j: same output
        _, _, i, j = np.nonzero(self.meets)
        reach = max(1, int(np.abs(i - j).max(initial=0)))
        self.width = channels * columns
        self.groups = [range(start, min(start + reach, rows)) for start in range(0, rows, reach)]
        self.block_size = reach * self.width if rows > 1 else self.width
        self.cost = len(self.groups) * float(self.block_size) ** 3

    def is_below(self, s: float) -> bool:
        """Whether s²I − AᵀA is positive definite, proved by its block Cholesky factorisation."""
        products = self._products()
        below = None  # the Schur complement's correction from the block before
        for here, after in zip(self.groups, [*self.groups[1:], None], strict=True):
            pivot = -self._block(products, here, here)
            pivot[np.diag_indices_from(pivot)] += s**2
            if below is not None:
                pivot -= below
            try:
                factor = scipy.linalg.cholesky(pivot, lower=True, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:
                return False
            if after is not None:
                coupling = self._block(products, here, after)
                half = scipy.linalg.solve_triangular(factor, coupling, lower=True, overwrite_b=True, check_finite=False)
                below = half.T @ half
        return True

    def _products(self) -> dict[tuple[int, int], np.ndarray]:
        """Row taps (a, b) that meet → Σ_cd (W_acᵀ W_bd) ⊗ (C_cᵀ C_d), square of side channels·columns."""
        pairs = np.argwhere(self.meets.any(axis=(2, 3)))
        return {(a, b): self._product(self.taps.weights[a], self.taps.weights[b]) for a, b in pairs.tolist()}

    def _product(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        _, channels, columns = self.taps.shape_in
        product = np.zeros((columns, channels, columns, channels))  # any order of a block's rows will do
        for (c, one), (d, other) in itertools.product(enumerate(self.taps.columns), repeat=2):
            if (meetings := np.argwhere(one.T @ other)).size:
                mixing = left[c].T @ right[d]
                for v, w in meetings:
                    product[v, :, w] += mixing
        return product.reshape(self.width, self.width)

    def _block(self, products: dict[tuple[int, int], np.ndarray], rows: range, others: range) -> np.ndarray:
        block = np.zeros((len(rows), self.width, len(others), self.width))
        for x, i in enumerate(rows):
            for y, j in enumerate(others):
                for a, b in np.argwhere(self.meets[:, :, i, j]).tolist():
                    block[x, :, y] += products[a, b]
        return block.reshape(len(rows) * self.width, len(others) * self.width)
