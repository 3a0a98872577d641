"""Cameras that are not linear in the automatic search: held-out measurements, and the smooth deviation by linearising.

Near an image x what a camera measures is A(x + d) ≈ A(x) + J d, with J its Jacobian there. So the conditional mean of
the smooth deviation (`ilo.auto.smooth`) is found by Gauss and Newton's method: a few linear problems, each linearised
where the one before ended, with the step halved until the posterior's density is higher. That ends at a maximum of the
density; where A is affine, at the first step and in the conditional mean. Products with J and its transpose are
automatic differentiation's: J d differentiates Jᵀ u, which is linear in u, by u (the "double backward" trick), so that
one graph of A serves all products.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ilo.auto.plan import Auto
from ilo.auto.smooth import Conditioner, SmoothPrior
from ilo.auto.solves import iterate
from ilo.generators.base import Generator
from ilo.operators import LinearOperator
from ilo.operators.camera import Camera, Function, Weighted
from ilo.rng import normal

STEPS = 3  # linear problems at most
HALVINGS = 4
TOLERANCE, MOST = 1e-3, 30  # of conjugate gradients; the next step starts where they ended
AFFINE = 1e-5  # relative: what the linearised measurements may be off by, to be taken for exact


class Jacobian(LinearOperator):
    """The Jacobian of `A` at images `at` (B, C, H, W), of each row its own: takes d (B, C, H, W), one for each.

    measured: A(at), (B, *shape_out).

    ValueError where A is not differentiable, or not so that its gradient can be differentiated again.
    """

    def __init__(self, A: Callable[[Tensor], Tensor], at: Tensor):
        with torch.enable_grad():
            self_at = at.detach().requires_grad_()
            measured = A(self_at)
            if not measured.requires_grad:
                raise ValueError("it keeps no gradient of the images (.detach(), numpy, or rounding)")
            direction = torch.zeros_like(measured, requires_grad=True)
            try:
                (pulled,) = torch.autograd.grad(measured, self_at, direction, create_graph=True)
            except RuntimeError as error:
                raise ValueError(f"its gradient cannot be computed: {error}") from error
        if not pulled.requires_grad:
            raise ValueError("its gradient cannot be differentiated again (a once_differentiable function)")
        super().__init__(at.shape[1:], measured.shape[1:])
        self.measured = measured.detach()
        self._graph = (self_at, measured, direction, pulled)

    def _forward(self, x: Tensor) -> Tensor:
        _, _, direction, pulled = self._graph
        return _grad(pulled, direction, x)

    def _adjoint(self, y: Tensor) -> Tensor:
        at, measured, _, _ = self._graph
        return _grad(measured, at, y)


def _grad(output: Tensor, by: Tensor, weights: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(output, by, weights, retain_graph=True)
    return found


class LinearisedConditioner:
    """What `ilo.auto.smooth.Conditioner` is to a linear operator, for a camera that need not be linear."""

    def __init__(
        self, A: Camera, prior: SmoothPrior, steps: int = STEPS, tolerance: float = TOLERANCE, most: int = MOST
    ):
        self._A, self._prior, self._steps = A, prior, steps
        self._iterations = {"tolerance": tolerance, "most": most}

    @torch.no_grad()
    def __call__(self, y: Tensor, images: Tensor, ratio: Tensor) -> Tensor:
        """Return images + d of the highest posterior density, (B, C, H, W); arguments as in `Conditioner`."""
        moved = torch.zeros_like(images)
        if not bool((ratio > 0).any()):
            return images
        cost = self._cost(y, images, moved, ratio)
        for _ in range(self._steps):
            jacobian = Jacobian(self._A, images + moved)
            step = self._solved(jacobian, y - jacobian.measured + jacobian(moved), ratio) - moved
            expected = jacobian.measured + jacobian(step)
            moved, after, whole = self._stepped(y, images, moved, step, ratio, cost)
            error = (self._A(images + moved) - expected).flatten(1).norm(dim=1)
            done = whole & (error <= AFFINE * (expected.flatten(1).norm(dim=1) + 1))
            still = after >= cost - 1e-4 * cost.abs()
            cost = after
            if bool((done | still).all()):
                break
        return images + moved

    @torch.no_grad()
    def noise(self, y: Tensor, images: Tensor, ratio: Tensor) -> Tensor:
        """Return the most likely standard deviation of the noise, (B,): see `Conditioner.noise`."""
        rest = y - self._A(images)
        explained = self._A(self(y, images, ratio)) - self._A(images)
        return (rest * (rest - explained)).flatten(1).mean(1).clamp(min=0).sqrt()

    def _solved(self, jacobian: Jacobian, rest: Tensor, ratio: Tensor) -> Tensor:
        """E[d | rest = J d + noise], (B, C, H, W)."""
        prior = self._prior
        probe = normal(0, 1, jacobian.shape_in, purpose="probe", dtype=rest.dtype, device=rest.device).sign()
        gain = jacobian(probe.expand(len(rest), *jacobian.shape_in)).square().flatten(1).sum(1) / probe.numel()
        view = ratio.view(-1, 1, 1, 1)
        ridge = 1 / (view * prior.spectrum).clamp(min=1e-30)
        b = torch.where(view > 0, prior.analyse(jacobian.adjoint(rest)), 0.0)
        gain = gain.clamp(min=1e-12).view(-1, 1, 1, 1)
        return prior.synthesise(iterate(prior.gram(jacobian), b, ridge, gain, **self._iterations, whole=True))

    def about(self, images: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """What `Conditioner` is to the Jacobian at `images` (B, C, H, W), of each row its own: linear."""
        jacobian = Jacobian(self._A, images)
        return lambda y, x, ratio: x + self._solved(jacobian, y - jacobian(x), ratio)

    def _cost(self, y: Tensor, images: Tensor, moved: Tensor, ratio: Tensor) -> Tensor:
        """(B,): twice the negative log posterior density, times the noise's variance, up to a constant."""
        misfit = (self._A(images + moved) - y).square().flatten(1).sum(1)
        spectrum = self._prior.spectrum.clamp(min=1e-30)
        energy = (self._prior.analyse(moved).square() / spectrum).flatten(1).sum(1)
        return torch.where(ratio > 0, misfit + energy / ratio.clamp(min=1e-30), misfit)

    def _stepped(
        self, y: Tensor, images: Tensor, moved: Tensor, step: Tensor, ratio: Tensor, cost: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The deviation after the longest of step, step/2, … that lowers a problem's cost; the cost; who took all."""
        share = torch.ones_like(cost)
        for _ in range(HALVINGS + 1):
            tried = moved + share.view(-1, 1, 1, 1) * step
            after = self._cost(y, images, tried, ratio)
            worse = ~(after <= cost * (1 + 1e-6))
            if not bool(worse.any()):
                break
            share = torch.where(worse, share / 2, share)
        kept = worse.view(-1, 1, 1, 1)
        return torch.where(kept, moved, tried), torch.where(worse, cost, after), share == 1


def conditioner(
    A: Callable[[Tensor], Tensor], prior: SmoothPrior, steps: int = STEPS
) -> Conditioner | LinearisedConditioner:
    """Who finds the smooth deviation given what `A` measures; steps: of a camera's, where one may do."""
    return Conditioner(A, prior) if isinstance(A, LinearOperator) else LinearisedConditioner(A, prior, steps)


def prepared(
    G: Generator, A: Callable[[Tensor], Tensor], y: Tensor, settings: Auto
) -> tuple[Callable[[Tensor], Tensor], Tensor, Auto]:
    """The operator, measurements and settings to search by: a function becomes a `Camera`, a camera's units white.

    A function stays one, with a warning, where it cannot be linearised. A camera that knows its noise goes by that.
    """
    if isinstance(A, LinearOperator):
        return A, y, settings
    camera = A if isinstance(A, Camera) else Function(A, G.image_shape, y.shape[1:], _units(A))
    try:
        with torch.no_grad():
            images = G(G.sample(2, 0, "prior"))
            Jacobian(camera, images)(images)
    except (ValueError, RuntimeError) as error:
        warnings.warn(
            "this operator cannot be linearised, so that nothing is held out and no smooth deviation is added: "
            f"{error}",
            stacklevel=5,
        )
        return A, y, settings
    white, seen, deviation = camera.whitened(y)
    if deviation is None:
        same_units = seen is y or settings.noise is None
        return (white, seen, settings) if same_units else (camera, y, settings)
    return white, seen, replace(settings, noise=deviation)


def shared(A: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The operator and measurements without weights of single problems: what can measure any batch of images."""
    return A.shared(y) if isinstance(A, Camera) else (A, y)


def left_out(A: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Whether a measurement has no weight: (B, M), as `like`."""
    if not isinstance(A, Weighted):
        return torch.zeros_like(like, dtype=torch.bool)
    return A.weights.flatten(1) == 0


def _units(A: Callable[[Tensor], Tensor]) -> Tensor | None:
    """The units that a function declares by a method or attribute `units`; None: it declares none."""
    units = getattr(A, "units", None)
    return torch.as_tensor(units() if callable(units) else units) if units is not None else None
