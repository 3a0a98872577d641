"""deepinv (https://deepinv.github.io) both ways: operators, and `ilo.recover` as its reconstruction network.

Needs the extra: ``pip install -e '.[deepinv]'``. Where torch is a CPU build, import this module before deepinv itself,
which loads torchvision: see `ilo.perceptual.import_torchvision`.

deepinv's images u lie in [0, 1], ours x = 2u − 1 in [−1, 1]. An operator is the same linear map in both; measurements
and the standard deviation σ of their noise are not:

    y_ours = 2·y_theirs − A(1),   σ_ours = 2·σ_theirs

`measurements` converts the first. `ilo.interop` counts for no recorded row.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ilo.auto.plan import Auto
from ilo.checks import check_kind, check_number
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.perceptual import import_torchvision
from ilo.recovery import recover
from ilo.rng import normal

import_torchvision()
try:
    from deepinv.models import Reconstructor as ReconstructorOfDeepinv
    from deepinv.physics import GaussianNoise, LinearPhysics, Physics, ZeroNoise
    from deepinv.utils import TensorList
except ModuleNotFoundError as missing:
    raise ImportError(f"ilo.interop.deepinv needs deepinv: pip install -e '.[deepinv]' ({missing})") from None

PROBES = 2  # standard normal images: a row of A that gives 0 for them is a row of zeros


class OperatorPhysics(LinearPhysics):
    """`operator`, of ours, as deepinv's: see `to_physics`."""

    def __init__(self, operator: LinearOperator, noise_model):
        super().__init__(img_size=operator.shape_in, noise_model=noise_model)
        self.operator = operator

    def A(self, x: Tensor, **kwargs) -> Tensor:  # noqa: N802
        """A x, (B, *shape_out). The keywords are those that deepinv hands to the noise model too."""
        return self.operator(x)

    def A_adjoint(self, y: Tensor, **kwargs) -> Tensor:  # noqa: N802
        """Aᵀ y, (B, C, H, W)."""
        return self.operator.adjoint(y)


class PhysicsOperator(LinearOperator):
    """`physics`, of deepinv's, as ours: see `from_physics`."""

    def __init__(self, physics: LinearPhysics, shape: Sequence[int]):
        super().__init__(shape, (1,))
        self.physics = physics
        held = next(physics.buffers()).dtype  # every LinearPhysics has one that tells its dtype and device
        self._images = held if held.is_complex else None  # if it takes complex images alone
        self.register_buffer(
            "_like", torch.zeros((), dtype=held.to_real(), device=next(physics.buffers()).device), False
        )
        probes = normal(0, PROBES, shape, purpose="probe", dtype=self.dtype, device=self.device)
        name = type(physics).__name__
        with torch.no_grad():
            black = _leaves(self._measured(torch.zeros_like(probes[:1])))
            if any(len(leaf) != 1 for leaf in black):
                raise ValueError(
                    f"this {name} has parameters of a batch of images, such as a mask each: an operator is one for "
                    "all; make one of the physics of each image"
                )
            measured = self._measured(probes)
        leaves = _leaves(measured)
        if any(leaf.any() for leaf in black) or not all(torch.isfinite(leaf).all() for leaf in leaves):
            raise ValueError(f"this {name} is not linear: a black image must measure 0, and no image NaN")
        self._is_list = not isinstance(measured, Tensor)
        self._shapes = [leaf.shape[1:] for leaf in leaves]  # without the batch
        self._complex = [leaf.is_complex() for leaf in leaves]
        kept = _flat(leaves).ne(0).any(0).nonzero().flatten()
        if len(kept) == 0:
            raise ValueError(f"this {name} measures nothing: every image gives zeros")
        self.register_buffer("kept", kept)
        self.shape_out = (len(kept),)

    def units(self) -> Tensor:
        """A unit is a place of the measurements: real and imaginary part, all channels (the first axis, if several)."""
        units, count = [], 0
        for shape, is_complex in zip(self._shapes, self._complex, strict=True):
            places = math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)
            of_entries = count + torch.arange(math.prod(shape)) % places
            units.append(of_entries.repeat_interleave(2) if is_complex else of_entries)
            count += places
        return torch.cat(units)[self.kept.cpu()]

    def flat(self, y: Tensor | TensorList) -> Tensor:
        """Return deepinv's measurements as (B, M) real numbers, without those that are 0 for every image.

        Tensors of a list follow one another; of a complex number comes the real part, then the imaginary one.
        """
        leaves = _leaves(y)
        found = [(leaf.shape[1:], leaf.is_complex()) for leaf in leaves]
        expected = list(zip(self._shapes, self._complex, strict=True))
        if found != expected:
            name = type(self.physics).__name__
            raise ValueError(f"{name} measures {_told(expected)} without the batch, got {_told(found)}")
        return _flat(leaves).index_select(1, self.kept)

    def unflat(self, y: Tensor) -> Tensor | TensorList:
        """Return measurements (B, M) as deepinv has them, zeros where nothing is measured: undoes `flat`."""
        sizes = [math.prod(s) * (2 if c else 1) for s, c in zip(self._shapes, self._complex, strict=True)]
        parts = y.new_zeros(len(y), sum(sizes)).index_copy(1, self.kept, y).split(sizes, dim=1)
        leaves = [
            torch.view_as_complex(part.reshape(len(y), *shape, 2)) if is_complex else part.reshape(len(y), *shape)
            for part, shape, is_complex in zip(parts, self._shapes, self._complex, strict=True)
        ]
        return TensorList(leaves) if self._is_list else leaves[0]

    def _held(self) -> list[Tensor]:
        return [self._like]  # its physics may hold tables of another dtype, and does with them what it likes

    def _forward(self, x: Tensor) -> Tensor:
        return _flat(_leaves(self._measured(x))).index_select(1, self.kept).to(x.dtype)

    def _adjoint(self, y: Tensor) -> Tensor:
        x = self.physics.A_adjoint(self.unflat(y if self._images is None else y.to(self._images.to_real())))
        return (x.real if x.is_complex() else x).to(y.dtype)  # images are real

    def _measured(self, x: Tensor) -> Tensor | TensorList:
        return self.physics.A(x if self._images is None else x.to(self._images))


def to_physics(A: LinearOperator, noise: float = 0.0) -> LinearPhysics:
    """Return our operator as deepinv's physics, for images (B, C, H, W) in [0, 1].

    Its A and A_adjoint are ours, A_dagger, prox_l2 and A_vjp follow from them. `forward` adds the noise.

    Args:
        noise: standard deviation in the units of *our* measurements, of images in [−1, 1]; half of it is added to
            measurements of images in [0, 1].

    Raises:
        TypeError: `A` is no LinearOperator, or `noise` no number. ValueError: `noise` is negative.
    """
    check_kind(A, LinearOperator, "A")
    noise = check_number(noise, "noise", 0)
    return OperatorPhysics(A, GaussianNoise(noise / 2) if noise > 0 else ZeroNoise())


def from_physics(physics: LinearPhysics, shape: Sequence[int] | None = None) -> LinearOperator:
    """Return deepinv's physics as our operator, with adjoint, norm, rows and units: images to (B, M) real numbers.

    Its noise and sensor models are left out. Complex measurements become real and imaginary part, lists of them one
    vector; what is 0 for every image, as outside the mask of `Inpainting` and `MRI`, is no measurement and left out.
    Of what `to_physics` made, the operator itself.

    Args:
        physics: one for all images: parameters of a batch, such as a mask each, are refused.
        shape: (C, H, W), or what the physics takes; None where it has an `img_size`.

    Raises:
        TypeError: not linear. ValueError: the shape is missing or wrong, or the physics holds a batch's parameters.
    """
    check_kind(physics, LinearPhysics, "physics")
    if isinstance(physics, OperatorPhysics):
        return physics.operator
    shape = getattr(physics, "img_size", None) if shape is None else shape
    if shape is None:
        raise ValueError(f"this {type(physics).__name__} does not know its images' shape: from_physics(physics, shape)")
    return PhysicsOperator(physics, tuple(shape))


@torch.no_grad()
def measurements(A: LinearOperator, y: Tensor | TensorList) -> Tensor:
    """Return deepinv's measurements `y`, of images in [0, 1], as those of our operator A, of images in [−1, 1]."""
    y = A.flat(y) if isinstance(A, PhysicsOperator) else y
    return 2 * y - A(torch.ones(1, *A.shape_in, dtype=y.dtype, device=y.device))


class Reconstructor(ReconstructorOfDeepinv):
    """`ilo.recover` as deepinv's reconstruction network: model(y, physics) -> images (B, C, H, W) in [0, 1].

    `deepinv.test(Reconstructor(G), loader, physics)` takes it. Every problem of the batch is solved by itself.

    Args:
        G: the generator; its images have the shape that the physics takes.
        rounds: as in `ilo.recover`. "auto", or an `ilo.Auto` without one, is told the noise where the physics has
            Gaussian noise of one standard deviation.
        options: of `ilo.recover`: rng, restarts, objective, …

    `result` holds the `ilo.Result` of the last call, images in [−1, 1].
    """

    def __init__(self, G: Generator, rounds: Any = "auto", **options: Any):
        super().__init__(device=G.device)
        self.G, self.rounds, self.options = G, rounds, {"progress": False, **options}
        self.result = None

    @torch.enable_grad()  # deepinv.test turns gradients off, which the search needs
    def forward(self, y: Tensor | TensorList, physics: Physics, **kwargs) -> Tensor:
        A = from_physics(physics, self.G.image_shape)
        rounds = Auto() if self.rounds == "auto" else self.rounds
        if isinstance(rounds, Auto) and rounds.noise is None:
            rounds = replace(rounds, noise=_noise_of(physics, A))
        self.result = recover(self.G, A, measurements(A, y), rounds=rounds, **self.options)
        return ((self.result.images + 1) / 2).clamp(0, 1)


def _noise_of(physics: LinearPhysics, A: LinearOperator) -> float | None:
    """The standard deviation of the noise of our measurements, where it is Gaussian and one for all; else None."""
    model = physics.noise_model
    parts = set(getattr(A, "_complex", [False]))
    if isinstance(model, ZeroNoise):
        return 0.0
    if not isinstance(model, GaussianNoise) or model.sigma.numel() != 1 or len(parts) > 1:
        return None
    return 2 * float(model.sigma) / (math.sqrt(2) if True in parts else 1)  # a complex number's is both parts' together


def _leaves(y: Tensor | TensorList | Sequence) -> list[Tensor]:
    """The tensors of a measurement, batch first, which may be one or lists in lists."""
    return [y] if isinstance(y, Tensor) else [leaf for part in y for leaf in _leaves(part)]


def _flat(leaves: Sequence[Tensor]) -> Tensor:
    """(B, …) each, complex or real -> (B, all numbers), real."""
    real = (torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf for leaf in leaves)
    return torch.cat([leaf.flatten(1) for leaf in real], 1)


def _told(kinds: Sequence[tuple[Sequence[int], bool]]) -> str:
    return " and ".join(f"{'complex' if is_complex else 'real'} {tuple(shape)}" for shape, is_complex in kinds)
