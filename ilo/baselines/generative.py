"""What others run with a generator: CSGM, PULSE and the ILO authors' release, as settings of `ilo.recover`."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ilo.checks import check_kind, check_number
from ilo.generators.base import Generator
from ilo.recovery import recover
from ilo.solver.objectives import GeoCross, Perceptual, SquaredError, SquaredNorm
from ilo.solver.result import Result
from ilo.solver.rounds import Round, SearchRound, constant, keep_norms
from ilo.solver.schedules import release_rounds

NOISE_MAPS = 5  # that PULSE searches


def csgm(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    restarts: int = 2,
    steps: int = 500,
    lr: float = 0.1,
    penalty: float = 0.001,
    **options: Any,
) -> Result:
    """CSGM (Bora et al., "Compressed Sensing using Generative Models", ICML 2017), with its penalty on the latent.

        min_z  (1/m)·‖A(G(z)) − y‖² + penalty·‖z‖²,   m measurements

    by Adam at a constant rate from `restarts` random latents. The defaults are the authors' on CelebA with a DCGAN
    (k = 100, images in [−1, 1]); with this penalty they take 10 restarts, without it 2.

    On the scale of the penalty: the paper writes ‖A(G(z)) − y‖² + λ·‖z‖² with λ = 0.001, but the authors' code divides
    the first term by m, the number of measurements, and takes the sum of squares of z for the second. That is what is
    done here, where the data term is `ilo.SquaredError` (a mean) and the penalty `ilo.SquaredNorm` (a sum), so that
    λ = 0.001 means what it meant in their experiments. Read as the formula has it, the penalty would be λ/m. With
    it the search of the default generator ends lower on real faces in every task that was tried (tests/test_tuning.py,
    of data/reference/tuning_first_stage.csv): a fair comparison takes penalty=0.

    They return, of each restart's last iterate, the one of least loss; here each restart's best iterate (penalty
    included) competes, and restarts are compared by the data term.

    Args:
        G, A, y, restarts: as in `ilo.recover`.
        steps, lr: of Adam.
        penalty: on each tensor that the latent consists of, at least 0.
        options: of `ilo.recover`: rng, start, callback, progress.

    Returns:
        `ilo.Result`. Raises what `ilo.recover` raises, and ValueError for a negative penalty.
    """
    check_kind(G, Generator, "G")
    penalty = check_number(penalty, "penalty", 0)
    names = G.variables(G.sample(1, 0))
    terms = [penalty * SquaredNorm(name) for name in names] if penalty > 0 else []
    round_ = Round(0, steps, lr, penalty=sum(terms[1:], terms[0]) if terms else None, schedule=constant)
    return recover(G, A, y, rounds=[round_], restarts=restarts, **options)


def pulse(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    restarts: int = 1,
    steps: int = 100,
    lr: float = 0.4,
    geocross: float = 0.05,
    **options: Any,
) -> Result:
    """PULSE (Menon et al., CVPR 2020), for any operator: a search on the sphere where the latent's distribution lies.

        min over ‖z‖ = ‖z_0‖ of  100·L2 + geocross·GEOCROSS

    by Adam with its rate on `one_cycle_drop`; after each step the latents return to the norm that they were drawn with,
    each of several style vectors by itself, and so do noise maps. L2 is the authors' mean squared error of images in
    [0, 1], which is a quarter of `ilo.SquaredError`, of images in [−1, 1]: the weight there is 25.

    GEOCROSS (`ilo.GeoCross`) keeps the styles of an image near each other. In a StyleGAN's space "paper" those are what
    the Gaussian fit to its mapping network makes of the vectors that are searched: on the first StyleGAN
    (`ilo.generators.stylegan1`) this is PULSE as published, on any operator. Of noise maps that are free the first five
    are searched, as there; the others stay as drawn (theirs sets the last, of 1024 pixels, to 0). For a generator with
    a single latent, such as a DCGAN, there is nothing to keep together and the term is 0; the 100 is then without
    effect too, since Adam does not see the scale of its objective.

    On a DCGAN a rate of 0.8 ends some 0.6 dB higher (data/reference/tuning_methods.csv); the default is the authors'.

    The authors' program refuses to answer where L2 > 0.002; this one returns its best, with its error in
    `Result.objective`.

    Args:
        G, A, y, restarts: as in `ilo.recover`. The authors start once.
        steps, lr: of Adam.
        geocross: weight of GEOCROSS, at least 0.
        options: of `ilo.recover`: rng, start, callback, progress.

    Returns:
        `ilo.Result`. Raises what `ilo.recover` raises, and ValueError for a negative weight.
    """
    check_kind(G, Generator, "G")
    geocross = check_number(geocross, "geocross", 0)
    names = G.variables(G.sample(1, 0))
    fixed = [name for name in names if name.startswith("noise_")][NOISE_MAPS:]
    searched = tuple(name for name in names if name not in fixed)
    round_ = Round(0, steps, lr, constraint=keep_norms, schedule=one_cycle_drop, variables=searched)
    objective = 25.0 * SquaredError(A, y)
    to_w = next((module.to_w for module in G.modules() if hasattr(module, "to_w")), None)
    for name in _sets_of_styles(G):
        objective = objective + geocross * GeoCross(name, to_w)
    return recover(G, A, y, rounds=[round_], objective=objective, restarts=restarts, **options)


def release(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    rounds: Sequence[SearchRound] | None = None,
    perceptual: nn.Module | None = None,
    geocross: float = 0.01,
    **options: Any,
) -> Result:
    """ILO as its authors' code runs it by default: no ball (github.com/giannisdaras/ilo, its default flags).

        SquaredError + LPIPS (VGG) + geocross·GEOCROSS,   over `ilo.release_rounds`

    LPIPS compares images, so it goes with inpainting and with operators that measure images of 1 or 3 channels; where
    measurements are none, as in compressed sensing, it is left out. Of inpainting it compares the image with itself,
    the seen pixels put in: made for holes in a picture, on scattered pixels it costs more than it brings. GEOCROSS, of
    the latents that are searched, is 0 where there is a single latent per image. Theirs takes LPIPS at 256 pixels;
    smaller images are compared at their own size, from 64 on.

    Args:
        G, A, y: as in `ilo.recover`.
        rounds: None: `ilo.release_rounds`.
        perceptual: (images, images) -> distance (B, 1, 1, 1); None: LPIPS with the VGG trunk.
        geocross: weight of GEOCROSS, at least 0.
        options: of `ilo.recover`: rng, start, callback, progress.

    Returns:
        `ilo.Result`. Raises what `ilo.recover` raises, and ValueError for a negative weight.
    """
    if not geocross >= 0:
        raise ValueError(f"geocross must be at least 0, got {geocross!r}")
    objective = SquaredError(A, y)
    if hasattr(A, "fill") or (y.ndim == 4 and y.shape[1] in (1, 3)):
        objective = objective + Perceptual(A, y, perceptual)
    for name in _sets_of_styles(G):
        objective = objective + geocross * GeoCross(name)
    return recover(G, A, y, rounds=rounds or release_rounds(G), objective=objective, **options)


def one_cycle_drop(t: float) -> float:
    """PULSE's factor of the learning rate at a fraction t ∈ [0, 1] of the search ("linear1cycledrop").

    Linearly from 0.1 up to 1 at t = 0.45, down to 0.1 at t = 0.9, then down to 0.001 at the end.
    """
    if t < 0.9:
        return 1 - 0.9 * abs(t / 0.45 - 1)
    return 0.1 + (0.001 - 0.1) * (t - 0.9) / 0.1


def _sets_of_styles(G: Generator) -> list[str]:
    """Names of what layer 0 reads as several vectors per image, (B, vectors, width)."""
    state = G.sample(1, 0)
    return [name for name in G.variables(state) if state[name].ndim == 3 and state[name].shape[1] > 1]
