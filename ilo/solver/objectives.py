"""What a round minimises: functions of (images, state), one value a sample.

An objective is any callable ``objective(images, state) -> (B,)`` where `images` are (B, C, H, W) in [−1, 1] and
`state` is the input of the round's layer. Those below are modules, so that what they hold follows `.to(device)`,
and add up with weights: ``SquaredError(A, y) + 0.1 * Perceptual(A, y)``.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.checks import check_callable, check_count, check_fraction, check_measurements, check_number
from ilo.rng import Rng, seed_of, stream


class Objective(nn.Module):
    """Base class: gives an objective ``+`` and a weight by ``*``."""

    def __add__(self, other: "Objective") -> "Objective":
        return WeightedSum([(1.0, self), (1.0, other)])

    def __radd__(self, other: "Objective | int") -> "Objective":
        return self if isinstance(other, int) and other == 0 else WeightedSum([(1.0, other), (1.0, self)])  # sum(…)

    def __mul__(self, weight: float) -> "Objective":
        return WeightedSum([(check_number(weight, "weight"), self)])

    __rmul__ = __mul__

    def draw(self, step: int) -> None:
        """Take the random numbers that belong to `step`; `ilo.recover` calls it before each. Most draw none."""
        for child in self.children():
            if isinstance(child, Objective):
                child.draw(step)


class WeightedSum(Objective):
    """Σ_j weight_j · objective_j."""

    def __init__(self, terms: list[tuple[float, Objective]]):
        super().__init__()
        flat = []
        for weight, term in terms:
            if not isinstance(term, Objective):
                raise TypeError(f"only objectives add up, got {type(term).__name__}: subclass ilo.Objective")
            inner = zip(term.weights, term, strict=True) if isinstance(term, WeightedSum) else [(1.0, term)]
            flat += [(weight * w, t) for w, t in inner]
        self.weights = [w for w, _ in flat]
        self.terms = nn.ModuleList(t for _, t in flat)

    def __iter__(self):
        return iter(self.terms)

    def draw(self, step: int) -> None:
        for term in self.terms:
            term.draw(step)

    def forward(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        return sum(w * term(images, state) for w, term in zip(self.weights, self.terms, strict=True))


class _DataTerm(Objective):
    """Holds an operator and its measurements (B, ...)."""

    def __init__(self, A: Callable[[Tensor], Tensor], y: Tensor):
        super().__init__()
        check_callable(A, "the operator A")
        check_measurements(y)
        self.A = A
        self.register_buffer("y", y)


class SquaredError(_DataTerm):
    """Mean over the measurements of (A(x) − y)²: CSGM's data term (Bora et al. 2017, eq. 3), scaled by 1/m."""

    def forward(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        return (self.A(images) - self.y).square().flatten(1).mean(1)


class DeadZone(_DataTerm):
    """Mean over the measurements of max(0, |A(x) − y| − width): small residuals cost nothing.

    The "dead-zone linear" option of the ILO authors' release, whose width is 0.1.
    """

    def __init__(self, A: Callable[[Tensor], Tensor], y: Tensor, width: float = 0.1):
        super().__init__(A, y)
        self.width = check_number(width, "width", 0)

    def forward(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        return F.relu((self.A(images) - self.y).abs() - self.width).flatten(1).mean(1)


class Perceptual(_DataTerm):
    """LPIPS (Zhang et al. 2018) between what the image would measure and what was measured.

    For inpainting, the image is compared with itself where nothing was seen and with the measurements where
    something was (the ILO authors' fill); other operators must measure images of 1 or 3 channels (super-resolution,
    denoising, deblurring, colourisation), which are compared as they are.

    Args:
        A, y: operator and measurements (B, ...).
        network: (images, images) -> distance (B, 1, 1, 1), for images in [−1, 1]; None: LPIPS with the VGG trunk.
        size: enlarge smaller images (bilinearly) to this side before comparing; the networks need 64 or so.
        largest: reduce larger images (by the mean over areas) to this side, at which the ILO authors' release compares.
    """

    def __init__(self, A, y: Tensor, network: nn.Module | None = None, size: int = 64, largest: int = 256):
        super().__init__(A, y)
        if not hasattr(A, "fill") and (y.ndim != 4 or y.shape[1] not in (1, 3)):
            raise ValueError(
                f"Perceptual compares images, but these measurements have shape {tuple(y.shape)}: "
                "use it with inpainting, denoising, super-resolution, deblurring or colourisation"
            )
        if not 1 <= size <= largest:
            raise ValueError(f"size must lie in 1 … largest, got size={size} and largest={largest}")
        if network is None:
            from ilo.perceptual import lpips_network  # imports torchvision: only who asks for it waits

            network = lpips_network("vgg")
        self.network, self.size, self.largest = network, size, largest

    def forward(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        if hasattr(self.A, "fill"):
            seen, target = images, self.A.fill(self.y, images)  # (B, C, H, W) both
        else:
            seen, target = self.A(images), self.y
        return self.network(self._prepare(seen), self._prepare(target)).flatten(1).sum(1)

    def _prepare(self, x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1)
        side = min(x.shape[-2:])
        if self.size <= side <= self.largest:
            return x
        goal, mode = (self.size, "bilinear") if side < self.size else (self.largest, "area")
        return F.interpolate(x, size=[round(n * goal / side) for n in x.shape[-2:]], mode=mode)


class SquaredNorm(Objective):
    """Sum of squares of one tensor of the state: CSGM's penalty λ·‖z‖² on the latent (Bora et al. 2017, §2.2)."""

    def __init__(self, name: str = "features"):
        super().__init__()
        self.name = name

    def forward(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        return state[self.name].square().flatten(1).sum(1)


class GeoCross(Objective):
    """How far the style vectors of one image lie from each other on the sphere (PULSE, Menon et al. 2020).

    Over all ordered pairs of the L vectors v_i ∈ R^d of state[name] (B, L, d):
    mean of d·θ_ij²/8, with the angle-like θ_ij = 2·atan2(‖v_i − v_j‖, ‖v_i + v_j‖).
    It is 0 when all L vectors are equal, that is in the space of a single style.

    Args:
        name: of the state's tensor.
        to_w: what makes the v_i of it, (B, L, width) -> (B, L, d); None: they are the tensor's own.
    """

    def __init__(self, name: str = "latents", to_w: nn.Module | None = None):
        super().__init__()
        self.name, self.to_w = name, to_w

    def forward(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        v = state[self.name]
        if v.ndim != 3:
            raise ValueError(f"geocross needs (B, vectors, width), but {self.name!r} is {tuple(v.shape)}")
        v = v if self.to_w is None else self.to_w(v)
        a, b = v.unsqueeze(1), v.unsqueeze(2)
        tiny = torch.finfo(v.dtype).tiny ** 0.5  # the root's gradient is infinite at 0, where i = j
        apart = ((a - b).square().sum(-1) + tiny).sqrt()  # (B, L, L)
        along = ((a + b).square().sum(-1) + tiny).sqrt()
        theta = 2 * torch.atan2(apart, along)
        return (theta.square() * v.shape[-1] / 8).mean((1, 2))


class ClassScore(Objective):
    """−log p(target | image) of a classifier, averaged over random crops, flips and noise.

    The views keep the result a picture: without them the classifier is satisfied by an adversarial pattern.

    Args:
        classifier: images (B, C, H, W) in [−1, 1], any size -> logits (B, classes).
        target: class index, or (B,) indices, one a problem.
        views: random views a step and image; 0 scores the image as it is.
        crop: smallest side of a crop, as a fraction of the image's.
        noise: standard deviation of the noise added to each view.
        rng: seed of the views; every problem of a batch sees the same ones.
    """

    def __init__(
        self,
        classifier: Callable[[Tensor], Tensor],
        target: int | Tensor,
        *,
        views: int = 4,
        crop: float = 0.8,
        noise: float = 0.05,
        rng: Rng = 0,
    ):
        super().__init__()
        check_callable(classifier, "classifier")
        views, crop = check_count(views, "views", least=0), check_fraction(crop, "crop")
        noise = check_number(noise, "noise", 0)
        self.classifier, self.views, self.crop, self.noise = classifier, views, crop, noise
        self.register_buffer("target", torch.as_tensor(target))
        self._seed, self._step = seed_of(rng), 0

    def draw(self, step: int) -> None:
        self._step = step

    def forward(self, images: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        target = self.target.expand(len(images))  # (B,)
        if self.views == 0:
            return F.cross_entropy(self.classifier(images), target, reduction="none")
        rng = stream(self._seed, "views", self._step)
        views = torch.cat([self._view(images, rng) for _ in range(self.views)])  # (views · B, C, H, W)
        loss = F.cross_entropy(self.classifier(views), target.repeat(self.views), reduction="none")
        return loss.view(self.views, -1).mean(0)

    def _view(self, images: Tensor, rng: torch.Generator) -> Tensor:
        height, width = images.shape[-2:]
        scale, down, right, flip = torch.rand(4, generator=rng).tolist()
        h, w = (max(1, round(side * (self.crop + (1 - self.crop) * scale))) for side in (height, width))
        top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
        view = images[..., top : top + h, left : left + w]
        view = F.interpolate(view, size=(height, width), mode="bilinear", antialias=True)
        grain = torch.randn(view.shape[1:], generator=rng).to(view)  # (C, H, W), the same for every problem
        return (view.flip(-1) if flip < 0.5 else view) + self.noise * grain
