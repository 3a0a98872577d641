"""The steps of training.

- copying: for one latent, the image of the small generator is to be that of `dcgan-digiface64`, and the encoder is to
  find the latent: it makes up for the channels that were left out.
- fitting: photographs and the DCGAN's own samples, mixed, are to be found: squared error and LPIPS of what the
  generator makes of the encoder's guess, with a Kullback–Leibler term that keeps the latents where a search begins.

Step k draws from a stream of its own, so that a run that was killed goes on from its checkpoint with the same numbers.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilo.arithmetic import repeatable
from ilo.files import written_atomically
from ilo.generators import load
from ilo.generators.decoder_layers import Z_DIM, decoder_layers
from ilo.perceptual import lpips_network
from ilo.rng import stream
from training.progress import follow
from training.searchable.network import Encoder, begin_as
from training.searchable.portraits import Portraits

BATCH = 32
PHOTOS = 20  # of them; the rest are the DCGAN's samples, which are to stay in the range
LR = {"model": 5e-4, "encoder": 1e-3}
EMA = 0.999
SQUARED_ERROR = (6.0, 10.0, 10.0)  # its weight beside LPIPS, by how deep the image is searched
LATENT = 1.5e-4  # weight of the Kullback–Leibler divergence, in nats
DEVIATION = 5e-6  # weight of the l1 norms
RADII = (200.0, 2000.0)  # of the l1 balls, drawn log-uniformly: wider than those of a search, in the units of training
UNITS = (2.0, 8.0)  # what the inputs of layers 1 and 2 are multiplied by in the file: there the paper's 1000 is right
STATEFUL = ("model", "average", "encoder", "optimiser")


@dataclass
class Run:
    """A training run: `step` of them done; scale: root mean squares of the features that it began with, (4,)."""

    step: int
    model: nn.Sequential
    average: nn.Sequential
    encoder: Encoder
    optimiser: torch.optim.Optimizer
    scale: Tensor

    def save(self, path: Path) -> None:
        """Write all that is needed to go on, in one step."""
        parts = {"step": self.step, "scale": self.scale}
        parts |= {name: getattr(self, name).state_dict() for name in STATEFUL}
        with written_atomically(path) as temporary:
            torch.save(parts, temporary)


def begin(rng: int, device: str, path: Path) -> Run:
    """A fresh run, or the one that the checkpoint at `path` holds."""
    G = load("dcgan-digiface64")
    model, encoder = decoder_layers(sphere=False), Encoder(rng)  # 1,500 steps with it won nothing
    z = G.sample(1024, rng, "prior")["features"]
    begin_as(model, G, z, rng)
    with torch.no_grad():
        scale = _scales(features_of(model, z)[:-1])
    model, encoder = model.to(device), encoder.to(device)
    groups = [
        {"params": [*part.parameters()], "lr": lr} for part, lr in zip((model, encoder), LR.values(), strict=True)
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=1e-5, fused=True)
    run = Run(0, model, copy.deepcopy(model), encoder, optimiser, scale.to(device))
    if path.is_file():
        saved = torch.load(path, map_location=device, weights_only=True)
        run.step, run.scale = saved["step"], saved["scale"]
        for name in STATEFUL:
            getattr(run, name).load_state_dict(saved[name])
    return run


def features_of(model: nn.Sequential, z: Tensor) -> list[Tensor]:
    """What every layer gives, the image last."""
    found = []
    for layer in model:
        z = layer(z)
        found.append(z)
    return found


def stepper(
    run: Run, rng: int, portraits: Portraits, copying: int, steps: int, device: str
) -> Callable[[], dict[str, float]]:
    """A function that takes the next step of `run` and returns its losses: `copying` first, `steps` in all."""
    G, perceptual = load("dcgan-digiface64", device=device), lpips_network("alex").to(device)
    half = torch.autocast(torch.device(device).type, torch.bfloat16)

    @torch.no_grad()
    def drawn(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
        z = torch.randn(n, Z_DIM, generator=g).to(device)
        return z, G(z).float()

    def step() -> dict[str, float]:
        for group, lr in zip(run.optimiser.param_groups, LR.values(), strict=True):
            group["lr"] = lr * _pace(run.step, steps)
        g = stream(rng, "order", run.step)
        with repeatable(), half:
            if run.step < copying:
                losses, loss = _copying(run, perceptual, *drawn(BATCH, g))
            else:
                own = drawn(BATCH - PHOTOS + 8, g)[1]
                photos = portraits.draw(PHOTOS, g, own.cpu()).to(device)
                losses, loss = _fitting(run, perceptual, torch.cat([own[: BATCH - PHOTOS], photos]), g)
        run.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in run.optimiser.param_groups for p in group["params"]], 5.0)
        run.optimiser.step()
        run.step += 1
        follow(zip(run.average.parameters(), run.model.parameters(), strict=True), run.step, EMA)
        return {name: value.item() for name, value in losses.items()}

    return step


def _pace(step: int, steps: int) -> float:
    """Of the learning rate: up in 200 steps, down to 2 % over the last two fifths."""
    left = (steps - step) / (0.4 * steps)
    return min(1.0, (step + 1) / 200) * min(1.0, max(0.02, left))


def in_units(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a generator that draws the same images, the inputs of its layers 1 and 2 times `UNITS`.

    What a ReLU gives can be had in any unit; that of the file makes the radii and rates of `ilo.paper_rounds` fit.
    """
    weights = dict(weights)
    for layer, unit in enumerate(UNITS):
        for name in (f"{layer}.up.weight", f"{layer}.up.bias"):
            weights[name] = weights[name] * unit
        weights[f"{layer + 1}.up.weight"] = weights[f"{layer + 1}.up.weight"] / unit
    return weights


def _copying(run: Run, perceptual: nn.Module, z: Tensor, real: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    image = run.model(z).float()
    _, small = run.encoder(real)
    mean = run.encoder.latent(small.flatten(1)).float()[:, :Z_DIM]
    losses = {
        "squared error": F.mse_loss(image, real),
        "lpips": perceptual(image, real).float().mean(),
        "latent": F.mse_loss(mean, z),
    }
    return losses, 10 * losses["squared error"] + losses["lpips"] + losses["latent"]


def _fitting(run: Run, perceptual: nn.Module, x: Tensor, g: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    model, encoder = run.model, run.encoder
    depth = ((torch.arange(len(x)) + run.step) % 3).to(x.device)  # layers searched beside the latent
    fine, small = encoder(x)
    z, divergence = _latent(encoder.latent(small.flatten(1)).float(), g)
    first = model[0](z)
    at_1 = _inside(encoder.at_1(torch.cat([small, first.detach()], 1)).float(), g) * _where(depth >= 1)
    second = model[1](first + at_1)
    at_2 = _inside(encoder.at_2(torch.cat([fine, second.detach()], 1)).float(), g) * _where(depth == 2)
    third = model[2](second + at_2)
    fourth = model[3](third)
    image = model[4](fourth).float()
    error = (image - x).square().mean((1, 2, 3))
    look = perceptual(image, x).float().flatten()
    moved = sum(v.flatten(1).abs().sum(1).mean() for v in (at_1, at_2))
    drift = (_scales([first, second, third, fourth]) / run.scale).log().square().sum()
    loss = (torch.tensor(SQUARED_ERROR).to(x)[depth] * error + look).mean()
    loss = loss + LATENT * divergence + DEVIATION * moved + drift
    photo = torch.arange(len(x), device=x.device) >= BATCH - PHOTOS
    losses = {f"error at depth {k}": error[photo & (depth == k)].mean() for k in range(3)}
    return {**losses, "lpips": look[photo].mean(), "divergence": divergence, "l1": moved, "drift": drift}, loss


def _latent(guess: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """A draw of the latent from what the encoder says of it, (B, 100), and its mean divergence from N(0, I) in nats."""
    mean, log_variance = guess.chunk(2, 1)
    log_variance = log_variance.clamp(-8, 2) - 2
    z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=g).to(mean)
    return z, 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1).mean()


def _inside(v: Tensor, g: torch.Generator) -> Tensor:
    """Each deviation scaled into an l1 ball of a radius of its own: all of its entries, so that all learn."""
    low, high = (torch.tensor(r).log() for r in RADII)
    radius = (torch.rand(len(v), generator=g) * (high - low) + low).exp().to(v)
    return v * _where(radius / v.flatten(1).abs().sum(1).clamp(min=1e-6)).clamp(max=1)


def _where(values: Tensor) -> Tensor:
    return values.float().view(-1, 1, 1, 1)


def _scales(features: list[Tensor]) -> Tensor:
    return torch.stack([h.float().square().mean().sqrt() for h in features])
