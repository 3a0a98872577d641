"""What a layer's input looks like over samples of the generator: its mean and covariance, to search by.

The l1 ball of ILO keeps a deviation sparse, and treats all directions alike. A generator says more: some directions of
its features vary widely over samples, most hardly at all. In coordinates whitened by that covariance a gradient step
moves far along the first and little along the others, so that a search that is stopped stays among likely features.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.checks import check_count, check_kind, check_layer
from ilo.generators.base import Generator, State
from ilo.generators.drawn import kept
from ilo.rng import Rng, normal, seed_of
from ilo.solver.copies import Copies
from ilo.solver.rounds import Descent


@dataclass(frozen=True)
class FeaturePrior:
    """Gaussian model of one layer's features, flattened to p numbers: N(mean, basisᵀ·basis + diag(residual²)).

    layer: whose input it describes. mean: (p,). residual: (p,), standard deviations that the basis leaves.
    basis: (rank, p), principal directions, each as long as the standard deviation along it.
    """

    layer: int
    mean: Tensor = field(repr=False)
    basis: Tensor = field(repr=False)
    residual: Tensor = field(repr=False)

    def to(self, like: Tensor) -> "FeaturePrior":
        """The same on the device and in the dtype of `like`."""
        return FeaturePrior(self.layer, self.mean.to(like), self.basis.to(like), self.residual.to(like))


def feature_prior(
    G: Generator, layer: int, *, samples: int = 2048, rank: int = 256, rng: Rng = 0, batch: int = 256
) -> FeaturePrior:
    """Estimate the prior of layer `layer`'s features from `samples` draws of the generator.

    The leading `rank` principal directions come from a randomised SVD (Halko, Martinsson and Tropp, 2011,
    algorithm 4.4); what they leave is kept as a variance of its own for each feature.
    Memory: about 2 · samples · p numbers. The same arguments give the same prior on one machine, whatever `batch`;
    the last of a layer is kept with the generator (`ilo.generators.drawn`), so do not write on it.

    Raises:
        ValueError: no such layer, or rank not in 1 … samples.
    """
    check_kind(G, Generator, "G")
    check_layer(layer, G.num_layers - 1, "layer", first=1)  # 0 is the latent, whose prior is known
    samples, batch = check_count(samples, "samples", least=2), check_count(batch, "batch")
    rank = check_count(rank, "rank", most=samples)
    seed = seed_of(rng)
    arguments = (samples, rank, seed, batch)
    return kept(
        G,
        f"feature prior {layer}",
        arguments,
        lambda: _feature_prior(G, layer, *arguments),
        lambda prior: prior.basis.numel(),
    )


@torch.no_grad()
def _feature_prior(G: Generator, layer: int, samples: int, rank: int, seed: int, batch: int) -> FeaturePrior:
    latents = G.sample(samples, seed, "prior")
    with repeatable():
        features = torch.cat(
            [
                G.run({name: t[begin : begin + batch] for name, t in latents.items()}, 0, layer)["features"].flatten(1)
                for begin in range(0, samples, batch)
            ]
        )  # (samples, p)
        mean, variance = features.mean(0), features.var(0)
        features -= mean
        sketch = normal(seed, min(rank, features.shape[1]), (samples,), purpose="sketch").to(features)
        directions = features.T @ sketch.T  # (p, rank)
        for _ in range(2):
            directions = torch.linalg.qr(features.T @ (features @ torch.linalg.qr(directions).Q)).Q
        _, singular, rotation = torch.linalg.svd(features @ directions, full_matrices=False)
    basis = (singular.unsqueeze(1) * (rotation @ directions.T)) / (samples - 1) ** 0.5  # (rank, p)
    residual = (variance - basis.square().sum(0)).clamp(min=0).sqrt()
    return FeaturePrior(layer, mean, basis, residual)


@dataclass(frozen=True)
class PriorRound(Descent):
    """Optimise a layer's features in coordinates whitened by their prior, from the prior's mean or from the start.

    features = origin + u·basis + v·residual, with (u, v) from 0 by Adam. There is no ball: the metric of the prior and
    the number of steps keep the features likely. Ours, not the paper's.

    Args:
        steps, lr (in standard deviations), penalty, schedule, optimiser: see `Descent`.
        prior: `ilo.feature_prior(G, layer)`; the round searches its layer.
        from_mean: the origin is the prior's mean, and what the rounds before found is used only for the other tensors
            of the state (styles, noise maps). False: the origin is what they found.
    """

    layer: int = field(init=False, repr=False)
    prior: FeaturePrior = field(kw_only=True)
    from_mean: bool = field(default=True, kw_only=True)

    def __post_init__(self):
        check_kind(self.prior, FeaturePrior, "prior")
        object.__setattr__(self, "layer", self.prior.layer)  # frozen; the prior alone says which layer
        super().__post_init__()

    def begin(self, G: Generator, state: State, copies: Copies) -> "WhitenedSearch":
        if state["features"][0].numel() != len(self.prior.mean):
            raise ValueError(
                f"this prior describes {len(self.prior.mean)} features, but layer {self.layer} of {G.name} has "
                f"{state['features'][0].numel()}: make it by ilo.feature_prior(G, {self.layer})"
            )
        return WhitenedSearch(state, self.prior.to(state["features"]), self.from_mean)


class WhitenedSearch:
    """The `Search` of a `PriorRound`."""

    moving = ("features",)

    def __init__(self, start: State, prior: FeaturePrior, from_mean: bool = True):
        self._start, self._prior = start, prior
        self._origin = prior.mean if from_mean else start["features"].flatten(1)
        self._shape = start["features"].shape
        batch, like = len(start["features"]), prior.mean
        self.variables = [
            torch.zeros(batch, len(prior.basis), dtype=like.dtype, device=like.device, requires_grad=True),  # u
            torch.zeros(batch, len(prior.mean), dtype=like.dtype, device=like.device, requires_grad=True),  # v
        ]

    def state(self) -> State:
        u, v = self.variables
        features = self._origin + u @ self._prior.basis + v * self._prior.residual  # (B, p)
        return {**self._start, "features": features.view(self._shape)}

    def project(self) -> None:
        """Nothing is bounded."""
