"""Compressed sensing: Gaussian, partial circulant and partial Fourier measurements."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ilo.checks import check_count, check_shape
from ilo.operators.base import LinearOperator, check_index
from ilo.rng import Rng, seed_of, stream

Product = Callable[[Tensor], Tensor]

BLOCK_ENTRIES = 2**20
STORED_BYTES = 2 * 10**9


class GaussianSensing(LinearOperator):
    """m rows of independent N(0, 1/m) entries on the flattened image (Bora et al. 2017; the ILO theorem).

    The matrix is drawn in float32, block by block of rows, so one that is stored and one that is drawn anew at every
    product are the same numbers, on any device and in any dtype.

    Args:
        shape: (C, H, W).
        m: number of measurements.
        rng: seed or torch.Generator.
        stored: keep the matrix (4·m·C·H·W bytes), or draw it at every product, which is slow but needs the memory of
            one block alone. None: keep it if it is under 2 GB.
    """

    def __init__(self, shape: Sequence[int], m: int, rng: Rng = 0, stored: bool | None = None):
        shape, m = check_shape(shape), check_count(m, "m")
        self._setup(shape, torch.arange(m), seed_of(rng), 1 / math.sqrt(m))
        if stored or (stored is None and 4 * m * math.prod(shape) < STORED_BYTES):
            self.matrix = torch.empty(m, math.prod(shape), dtype=torch.float32)
            for positions, rows in self._blocks():
                self.matrix[positions] = rows

    def _setup(self, shape: Sequence[int], ids: Tensor, seed: int, scale: float) -> None:
        super().__init__(shape, (len(ids),))
        self._ids, self._seed, self._scale = ids, seed, scale
        self.register_buffer("matrix", None)

    def rows(self, index: Tensor | Sequence[int]) -> "GaussianSensing":
        """As `LinearOperator.rows`; the entries keep the variance 1/m of the whole."""
        index = check_index(index, len(self._ids))
        part = GaussianSensing.__new__(GaussianSensing)
        part._setup(self.shape_in, self._ids[index], self._seed, self._scale)
        if self.matrix is not None:
            part.matrix = self.matrix[index.to(self.matrix.device)]
        return part

    def units(self) -> Tensor:
        """A unit is a row of the matrix."""
        return self._ids

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (positions in the output, rows of the matrix) until every row has come once."""
        n = math.prod(self.shape_in)
        height = max(1, BLOCK_ENTRIES // n)
        for block in torch.unique(self._ids // height).tolist():
            draws = torch.randn(height, n, generator=stream(self._seed, "operator", block), dtype=torch.float32)
            positions = (self._ids // height == block).nonzero().flatten()
            yield positions, draws[self._ids[positions] % height] * self._scale

    def _forward(self, x: Tensor) -> Tensor:
        if self.matrix is not None:
            return x.flatten(1) @ self.matrix.T
        return _Redrawn.apply(self._product, self._transposed_product, x)

    def _adjoint(self, y: Tensor) -> Tensor:
        if self.matrix is not None:
            return (y @ self.matrix).view(len(y), *self.shape_in)
        return _Redrawn.apply(self._transposed_product, self._product, y)

    def _product(self, x: Tensor) -> Tensor:
        y = x.new_empty(len(x), *self.shape_out)
        for positions, rows in self._blocks():
            y[:, positions] = x.flatten(1) @ rows.to(x).T
        return y

    def _transposed_product(self, y: Tensor) -> Tensor:
        x = y.new_zeros(len(y), math.prod(self.shape_in))
        for positions, rows in self._blocks():
            x += y[:, positions] @ rows.to(y)
        return x.view(len(y), *self.shape_in)


class _Redrawn(torch.autograd.Function):
    """product(x), whose gradient is transposed(grad): both draw the matrix again, so that none is kept."""

    @staticmethod
    def forward(product: Product, transposed: Product, x: Tensor) -> Tensor:
        return product(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.product, ctx.transposed, _ = inputs

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _Redrawn.apply(ctx.transposed, ctx.product, grad)


class PartialCirculant(LinearOperator):
    """m random rows of a random circulant matrix after random signs: the ILO authors' compressed sensing.

    y = R (g ⊛ (σ ∘ x)) on the flattened image: signs σ, circular convolution with a Gaussian filter g by FFT, and a
    choice R of m rows. The entries of the matrix are N(0, 1/m), as those of `GaussianSensing`, but not independent.

    Args:
        shape: (C, H, W).
        m: number of measurements, at most C·H·W.
        rng: seed or torch.Generator.
    """

    def __init__(self, shape: Sequence[int], m: int, rng: Rng = 0):
        shape, m = check_shape(shape), check_count(m, "m")
        n = math.prod(shape)
        if m > n:
            raise ValueError(f"m = {m} rows are more than the matrix has: C·H·W = {n}")
        super().__init__(shape, (m,))
        seed = seed_of(rng)
        filter = torch.randn(n, generator=stream(seed, "filter"), dtype=torch.float64).float()
        signs = 2 * torch.randint(2, (n,), generator=stream(seed, "signs")) - 1
        self.register_buffer("signs", signs.float())
        self.register_buffer("filter", filter / math.sqrt(m))
        self.register_buffer("index", torch.randperm(n, generator=stream(seed, "rows"))[:m].sort().values)

    def _forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(self.filter)
        x = torch.fft.irfft(spectrum * torch.fft.rfft(self.signs * x.flatten(1)), n=len(self.filter))
        return x.index_select(1, self.index)

    def _adjoint(self, y: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(self.filter).conj()
        x = y.new_zeros(len(y), len(self.filter)).index_copy(1, self.index, y)
        x = self.signs * torch.fft.irfft(spectrum * torch.fft.rfft(x), n=len(self.filter))
        return x.view(len(y), *self.shape_in)


class PartialFourier(LinearOperator):
    """m frequencies of every channel's orthonormal 2-D discrete Fourier transform, as real numbers.

    Of a frequency k and −k, which hold the same, one is drawn from. Measurements are (C, r): the m real parts, then
    the imaginary parts of those frequencies that have one (all but the at most four with k = −k), each times √2
    where k ≠ −k. So the rows are orthonormal and the norm is 1.

    Args:
        shape: (C, H, W).
        m: number of frequencies, at most about H·W/2; the same for all channels.
        rng: seed or torch.Generator.
        center: so many of the m are the lowest frequencies, the mean first.
    """

    def __init__(self, shape: Sequence[int], m: int, rng: Rng = 0, center: int = 0):
        (channels, height, width), m = check_shape(shape), check_count(m, "m")
        half, real = _half_plane(height, width)
        if m > len(half):
            raise ValueError(f"m = {m} frequencies are more than the {len(half)} that differ in images of this shape")
        center = check_count(center, "center", least=0, most=m)
        others = center + torch.randperm(len(half) - center, generator=stream(rng, "frequencies"))
        order = torch.cat([torch.arange(center), others])
        chosen = order[:m].sort().values
        half, real = half[chosen], real[chosen]
        index = torch.cat([2 * half, 2 * half[~real] + 1])
        super().__init__((channels, height, width), (channels, len(index)))
        own_mirror = torch.cat([real, torch.zeros(len(index) - m, dtype=torch.bool)])
        self.register_buffer("index", index)
        self.register_buffer("weights", torch.where(own_mirror, 1, math.sqrt(2)).float())

    def units(self) -> Tensor:
        """A unit is a frequency: real and imaginary part, all channels."""
        return (self.index.cpu() // 2).repeat(self.shape_in[0])

    def _forward(self, x: Tensor) -> Tensor:
        x = torch.view_as_real(torch.fft.fft2(x, norm="ortho")).flatten(2)  # (B, C, H·W·2)
        return self.weights * x.index_select(2, self.index)

    def _adjoint(self, y: Tensor) -> Tensor:
        _, height, width = self.shape_in
        x = y.new_zeros(*y.shape[:2], height * width * 2).index_copy(2, self.index, self.weights * y)
        x = torch.view_as_complex(x.view(*y.shape[:2], height, width, 2))
        return torch.fft.ifft2(x, norm="ortho").real.contiguous()

    def _norm(self) -> float:
        return 1.0


def _half_plane(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return one flat index of each pair of frequencies {k, −k}, lowest first, and whether k = −k."""
    ky, kx = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    flat = (ky * width + kx).flatten()
    mirror = ((-ky % height) * width + (-kx % width)).flatten()
    half = flat[flat <= mirror]
    squared = torch.fft.fftfreq(height)[:, None].square() + torch.fft.fftfreq(width).square()
    half = half[squared.flatten()[half].argsort(stable=True)]
    return half, half == mirror[half]
