"""The steps of training: first the generator copies its teacher, then it is also judged by a discriminator.

- distilled: for a latent z of length √100, the image of the student is to be the teacher's, halved to 32 × 32: squared
  error and LPIPS. Stable and fast, and blurred where the student cannot follow.
- adversarial: less of that, and the non-saturating logistic loss with R1 (Karras et al. 2020).
- calm: the same at a third of the generator's rates.

Step k draws from a stream of its own, so that a run that was killed goes on from its checkpoint with the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.files import written_atomically
from ilo.generators import load
from ilo.perceptual import lpips_network
from ilo.rng import stream
from training.faces32.network import Z_DIM, Discriminator, drawn_noise, fresh_generator, images_of, styles_of
from training.progress import follow

BATCH = 16
LR = {"mapping": 0.1, "synthesis": 0.003}  # the mapping's weights are stored 100 times as large as they act
LR_DISCRIMINATOR = 0.001
CALM = 1 / 3
BETAS = (0.0, 0.99)
R1, R1_EVERY = 1.0, 16
OF_COPYING = {"squared error": 5.0, "lpips": 1.0}
COPYING_GOES_ON = 0.2  # of that, beside the judgement: the student keeps drawing all that the teacher draws
OF_JUDGEMENT = 0.3
EMA = 0.998
STATEFUL = ("discriminator", "of_weights", "of_discriminator")  # of a run


@dataclass
class Run:
    """A training run: `step` of them done."""

    step: int
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    discriminator: Discriminator
    of_weights: torch.optim.Optimizer
    of_discriminator: torch.optim.Optimizer

    def save(self, path: Path) -> None:
        """Write all that is needed to go on, in one step."""
        parts = {"step": self.step, "weights": self.weights, "average": self.average}
        parts |= {name: getattr(self, name).state_dict() for name in STATEFUL}
        with written_atomically(path) as temporary:
            torch.save(parts, temporary)


def begin(rng: int, device: str, path: Path) -> Run:
    """A fresh run, or the one that the checkpoint at `path` holds."""
    weights = {name: value.to(device) for name, value in fresh_generator(rng).items()}
    learned = {name: value.requires_grad_() for name, value in weights.items() if not name.endswith("noise_const")}
    groups = [
        {"params": [v for name, v in learned.items() if name.startswith(part)], "lr": lr} for part, lr in LR.items()
    ]
    discriminator = Discriminator(rng).to(device)
    run = Run(
        0,
        weights,
        {name: value.detach().clone() for name, value in weights.items()},
        discriminator,
        torch.optim.Adam(groups, betas=BETAS),
        torch.optim.Adam(discriminator.parameters(), lr=LR_DISCRIMINATOR, betas=BETAS),
    )
    if path.is_file():
        _restore(run, torch.load(path, map_location=device, weights_only=True))
    return run


@torch.no_grad()
def _restore(run: Run, saved: dict[str, Any]) -> None:
    run.step = saved["step"]
    for name in run.weights:
        run.weights[name].copy_(saved["weights"][name])
        run.average[name].copy_(saved["average"][name])
    for name in STATEFUL:
        getattr(run, name).load_state_dict(saved[name])


def teacher(device: str) -> Callable[[Tensor], Tensor]:
    """Latents (B, 100) -> faces (B, 3, 32, 32) of the DCGAN, in [−1, 1]."""
    G = load("dcgan-digiface64", device=device)

    @torch.no_grad()
    def faces(z: Tensor) -> Tensor:
        return F.avg_pool2d(G(z.view(-1, *G.latent_shapes["features"])), 2)

    return faces


def stepper(run: Run, rng: int, distilled: int, adversarial: int, device: str) -> Callable[[], dict[str, float]]:
    """A function that takes the next step of `run` and returns its losses.

    The first `distilled` steps only copy, `adversarial` ones are judged, and those after them are calm.
    """
    faces, perceptual = teacher(device), lpips_network("alex").to(device)

    def step() -> dict[str, float]:
        for group, lr in zip(run.of_weights.param_groups, LR.values(), strict=True):
            group["lr"] = lr * (CALM if run.step >= distilled + adversarial else 1)
        g = stream(rng, "order", run.step)
        z = F.normalize(torch.randn(BATCH, Z_DIM, generator=g)).to(device) * Z_DIM**0.5
        noise = drawn_noise(run.weights, BATCH, g)
        real, fake = faces(z), images_of(run.weights, styles_of(run.weights, z), noise)
        losses = {"squared error": F.mse_loss(fake, real), "lpips": perceptual(_doubled(fake), _doubled(real)).mean()}
        loss = sum(OF_COPYING[name] * value for name, value in losses.items())
        if run.step >= distilled:
            losses["discriminator"] = _judge(run, real, fake.detach())
            losses["generator"] = F.softplus(-run.discriminator(fake)).mean()
            loss = COPYING_GOES_ON * loss + OF_JUDGEMENT * losses["generator"]
        run.of_weights.zero_grad()
        loss.backward()
        run.of_weights.step()
        follow(((run.average[name], value) for name, value in run.weights.items()), run.step, EMA)
        run.step += 1
        return {name: value.item() for name, value in losses.items()}

    return step


def _judge(run: Run, real: Tensor, fake: Tensor) -> Tensor:
    """One step of the discriminator."""
    regularised = run.step % R1_EVERY == 0
    real = real.requires_grad_(regularised)
    scores = run.discriminator(real)
    loss = F.softplus(-scores).mean() + F.softplus(run.discriminator(fake)).mean()
    total = loss
    if regularised:
        (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        total = loss + R1_EVERY * R1 / 2 * slope.square().sum((1, 2, 3)).mean()
    run.of_discriminator.zero_grad()
    total.backward()
    run.of_discriminator.step()
    return loss.detach()


def _doubled(images: Tensor) -> Tensor:
    """LPIPS begins with a stride of 4: at 64 pixels it sees more of a face."""
    return F.interpolate(images, scale_factor=2, mode="bilinear")
