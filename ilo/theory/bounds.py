"""The theorem's formulas (see `ilo.theory`), and those of what it is compared with: CSGM and an unconstrained layer.

Every argument is a number or an array (what np.asarray takes); they broadcast. The result is a float where all are
numbers, else a float64 array. NaN and infinity are refused.

**The constant.** The theorem says m = Ω(…): at least some factor times the expression, the same factor whatever the
generator, γ, δ and K. That factor is not published, and proofs of this kind give values far above what is needed. It
is the argument `constant` here. With the default of 1 a function gives the *shape* of the theorem (how the count moves
with each quantity, where one term overtakes the other), not a count to plan measurements by; for that, fit it to
experiments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ilo.checks import check_kind

Quantity = float | np.ndarray


@dataclass(frozen=True)
class Setting:
    """A generator cut in two, G = G_2 ∘ G_1, and the latents that count: what the theorem is about.

    k: dimension of the latent. p: dimension of the input of G_2, the layer that is searched. L1, L2: Lipschitz
    constants of G_1 and of G_2 (l2 to l2). r1: l2 radius of the ball of latents.
    """

    k: Quantity
    p: Quantity
    L1: Quantity
    L2: Quantity
    r1: Quantity

    def __post_init__(self):
        self.arrays()

    def arrays(self) -> list[np.ndarray]:
        """k, p, L1, L2 and r1 in float64. ValueError if a dimension is below 1 or another is not positive."""
        return [*_dimensions(k=self.k, p=self.p), *_positive(L1=self.L1, L2=self.L2, r1=self.r1)]


def extended_radius(K: Quantity, delta: Quantity, L2: Quantity) -> Quantity:
    """Return r_2 = K·δ/L_2, the l1 radius by which the theorem extends the range of G_1.

    Args:
        K: the theorem's free parameter, positive. The theorem needs K ≤ √p, which the functions that know p check.
        delta: δ, the resolution in image space (l2 norm of an image), positive.
        L2: Lipschitz constant of G_2, positive.
    """
    K, delta, L2 = _positive(K=K, delta=delta, L2=L2)
    return _plain(K * delta / L2)


def sample_complexity(
    setting: Setting, K: Quantity, delta: Quantity, gamma: Quantity, constant: Quantity = 1.0
) -> Quantity:
    """Return the measurements that the theorem asks for: m = constant/(1−γ)² · (k·log(L_1 L_2 r_1/δ) + K²·log p).

    The first term pays for the latents (it is CSGM's), the second for the l1 ball around the range. The result is not
    rounded to an integer.

    Args:
        setting: k, p, L_1, L_2 and r_1.
        K: sets the radius r_2 = K·δ/L_2 of the l1 ball; 1 ≤ K ≤ √p.
        delta: δ, the resolution in image space (l2 norm of an image), 0 < δ ≤ L_1 L_2 r_1.
        gamma: γ of the S-REC, 0 < γ < 1; as γ → 1 distances are to be kept exactly and m grows without bound.
        constant: the factor hidden in Ω, positive; see the module's text on what a default of 1 means.

    Source: the theorem of ILO (slides), see `ilo.theory`.
    """
    k, p, L1, L2, r1 = check_kind(setting, Setting, "setting").arrays()
    delta, constant = _positive(delta=delta, constant=constant)
    gamma, K = _fraction(gamma=gamma), _width(K, p)
    latents = k * _log_ratio(L1 * L2 * r1, delta, "L1·L2·r1")
    return _plain(constant / (1 - gamma) ** 2 * (latents + K**2 * np.log(p)))


def error_bound(representation_error: Quantity, p: Quantity, K: Quantity, delta: Quantity, gamma: Quantity) -> Quantity:
    """Return (1 + 4/γ)·ε + δ·log(4K)/γ·(√p/K)·log(√p/K), the theorem's bound on ‖x − G_2(z̃)‖ (l2 norm).

    The second term falls as K grows, from δ·log 4·√p·log(√p)/γ at K = 1 to zero at K = √p. For images of n values,
    divide by √n to read it as a root mean square error.

    Args:
        representation_error: ε = ‖x − G_2(z̄)‖ ≥ 0, how far the truth lies from the image of the extended range.
        p: dimension of the input of G_2.
        K: 1 ≤ K ≤ √p.
        delta: δ > 0, the resolution in image space.
        gamma: γ of the S-REC, 0 < γ < 1.

    Source: the theorem of ILO (slides), see `ilo.theory`. It holds for the true minimiser z̃ of ‖A·G_2(z) − y‖ over the
    extended range, which no algorithm is sure to find, and with the probability `1 - failure_probability(m, gamma)`.
    """
    [epsilon] = _checked("non-negative", lambda v: v >= 0, representation_error=representation_error)
    [p], [delta] = _dimensions(p=p), _positive(delta=delta)
    gamma, K = _fraction(gamma=gamma), _width(K, p)
    ratio = np.maximum(np.sqrt(p) / K, 1.0)
    return _plain((1 + 4 / gamma) * epsilon + delta * np.log(4 * K) / gamma * ratio * np.log(ratio))


def failure_probability(m: Quantity, gamma: Quantity, constant: Quantity = 1.0) -> Quantity:
    """Return exp(−constant·(1−γ)²·m), the probability with which the theorem's bound may fail; 1 at m = 0.

    Args:
        m: number of measurements, not negative.
        gamma: γ of the S-REC, 0 < γ < 1.
        constant: the factor hidden in Ω, positive. It is not the `constant` of `sample_complexity`.

    Source: the theorem of ILO (slides), see `ilo.theory`.
    """
    [m] = _checked("a number of measurements, not negative", lambda v: v >= 0, m=m)
    gamma, [constant] = _fraction(gamma=gamma), _positive(constant=constant)
    return _plain(np.exp(-constant * (1 - gamma) ** 2 * m))


def csgm_sample_complexity(
    k: Quantity, L: Quantity, r: Quantity, delta: Quantity, constant: Quantity = 1.0
) -> Quantity:
    """Return m = constant·k·log(L·r/δ), the measurements that CSGM asks for.

    Args:
        k: dimension of the latent.
        L: Lipschitz constant of the whole generator.
        r: l2 radius of the ball of latents.
        delta: δ, the resolution in image space, 0 < δ ≤ L·r.
        constant: the factor hidden in the O-notation, positive. γ is fixed there and hides in it too: beside
            `sample_complexity(…, gamma)` a fair comparison gives this one constant/(1−γ)².

    Source: Bora, Jalal, Price, Dimakis, "Compressed sensing using generative models" (ICML 2017), theorem 1.2.
    """
    [k] = _dimensions(k=k)
    L, r, delta, constant = _positive(L=L, r=r, delta=delta, constant=constant)
    return _plain(constant * k * _log_ratio(L * r, delta, "L·r"))


def unconstrained_sample_complexity(
    p: Quantity, L2: Quantity, r: Quantity, delta: Quantity, constant: Quantity = 1.0
) -> Quantity:
    """Return m = constant·p·log(L_2·r/δ): what searching a layer's input in a plain l2 ball of R^p asks for.

    It is CSGM's count with the layer's input as the latent: what ILO without its l1 ball would cost.

    Args:
        p: dimension of the layer's input.
        L2: Lipschitz constant of the layers from there on.
        r: l2 radius of the ball searched; to hold the extended range about a centre it is L_1·r_1 + r_2.
        delta: δ, the resolution in image space, 0 < δ ≤ L_2·r.
        constant: as in `csgm_sample_complexity`.

    Source: Bora et al. (ICML 2017), theorem 1.2, applied to G_2.
    """
    [p] = _dimensions(p=p)
    L2, r, delta, constant = _positive(L2=L2, r=r, delta=delta, constant=constant)
    return _plain(constant * p * _log_ratio(L2 * r, delta, "L2·r"))


def log_covering_number_l1_ball(p: Quantity, radius: Quantity, eps: Quantity) -> Quantity:
    """Return ⌈R²/ε²⌉·log(2p+1), an upper bound on log N(ε, B_1^p(R), l2): Maurey's empirical lemma.

    Every point of the l1 ball is within ε of the mean of ⌈R²/ε²⌉ points taken from {0, ±R·e_i}. With R = K·δ/L_2 and
    ε = δ/L_2 this is ⌈K²⌉·log(2p+1), the theorem's second term.

    Args:
        p: dimension.
        radius: R > 0, of the l1 ball.
        eps: ε > 0, l2 radius of the balls that cover. From ε = R on one is enough: the lemma's log(2p+1) is loose.

    Source: Maurey's lemma in Pisier, "Remarques sur un résultat non publié de B. Maurey" (1981).
    """
    [p], [radius, eps] = _dimensions(p=p), _positive(radius=radius, eps=eps)
    # 0.3/0.1 squares to a little more than 9: a ratio within rounding of an integer is meant to be that integer.
    terms = np.ceil((radius / eps) ** 2 * (1 - 8 * np.finfo(np.float64).eps))
    return _plain(terms * np.log(2 * p + 1))


def best_K(  # noqa: N802 - the theorem's letter
    setting: Setting, m: Quantity, delta: Quantity, gamma: Quantity, constant: Quantity = 1.0
) -> Quantity:
    """Return the K in [1, √p] that minimises `error_bound` among those that `m` measurements pay for; NaN if none is.

    K = min(√p, √(((1−γ)²·m/constant − k·log(L_1 L_2 r_1/δ)) / log p)), the largest K that can be paid for. It is the
    best because the bound's second term falls in K on all of [1, √p], its logarithmic derivative being
    (1/log(4K) − 1 − 1/log(√p/K))/K < 0, and the representation error does not rise in a wider extended range.

    Args:
        m: the budget of measurements, positive. Below `sample_complexity` at K = 1 the theorem is silent: NaN.
        setting, delta, gamma, constant: as in `sample_complexity`.
    """
    k, p, L1, L2, r1 = check_kind(setting, Setting, "setting").arrays()
    m, delta, constant = _positive(m=m, delta=delta, constant=constant)
    budget = (1 - _fraction(gamma=gamma)) ** 2 * m / constant
    left = budget - k * _log_ratio(L1 * L2 * r1, delta, "L1·L2·r1")  # pays for K²·log p
    K = np.sqrt(np.maximum(left, 0) / np.maximum(np.log(p), 1e-12))
    affordable = left >= np.log(p) - 1e-12 * budget  # exactly the price of K = 1 is enough, whatever the rounding
    return _plain(np.where(affordable, np.clip(K, 1, np.sqrt(p)), np.nan))


def _checked(expected: str, ok: Callable[[np.ndarray], np.ndarray], **values: Quantity) -> list[np.ndarray]:
    """The values in float64. TypeError for what is no number, ValueError unless finite and `ok`: it names the value."""
    arrays = []
    for name, value in values.items():
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a number or an array of numbers, got {value!r}") from None
        _require(name, array, np.isfinite(array), "finite")
        _require(name, array, ok(array), expected)
        arrays.append(array)
    return arrays


def _require(name: str, value: np.ndarray, ok: np.ndarray, expected: str) -> None:
    if not np.all(ok):
        offending = np.broadcast_to(value, np.shape(ok))[~ok].flat[0]
        raise ValueError(f"{name} must be {expected}, got {offending:g}")


def _positive(**values: Quantity) -> list[np.ndarray]:
    return _checked("positive", lambda v: v > 0, **values)


def _dimensions(**values: Quantity) -> list[np.ndarray]:
    return _checked("a dimension, at least 1", lambda v: v >= 1, **values)


def _fraction(**value: Quantity) -> np.ndarray:
    return _checked("strictly between 0 and 1", lambda v: (v > 0) & (v < 1), **value)[0]


def _width(K: Quantity, p: np.ndarray) -> np.ndarray:
    # A K of √p computed in float32 may come out above the √p computed here.
    largest = np.sqrt(p) * (1 + 4 * np.finfo(np.float32).eps)
    expected = "between 1 and √p (K ≤ √p is the theorem's condition)"
    return _checked(expected, lambda v: (v >= 1) & (largest >= v), K=K)[0]


def _log_ratio(numerator: np.ndarray, delta: np.ndarray, names: str) -> np.ndarray:
    """log(numerator/δ): zero when one ball of radius δ covers all, and meaningless for a larger δ still."""
    _require("delta", delta, delta <= numerator * (1 + 1e-12), f"at most {names}, the size of what it is to resolve")
    return np.maximum(np.log(numerator / delta), 0.0)


def _plain(result: np.ndarray) -> Quantity:
    """A float in place of an array without axes."""
    return result if np.ndim(result) else float(result)
