"""What every generator of the StyleGANs is asked: each split gives its image, and every method searches it.

And a small generator, which the tests of the automatic search have in common.
"""

import math

import torch
from torch import nn

import ilo
from ilo.generators import Generator
from ilo.solver.rounds import with_share

METHODS = ["CSGM", "PULSE", "ILO", "release's rounds", "auto"]


def assert_every_split_gives_the_image(G, sample) -> None:
    """Bit for bit; also from a state that was saved and read back, which lies otherwise in memory."""
    images = G(sample)
    for i in range(G.num_layers + 1):
        head, tail = G.split(i)
        state = head(sample)
        assert torch.equal(tail(state), images)
        assert torch.equal(tail({k: v.clone(memory_format=torch.contiguous_format) for k, v in state.items()}), images)


def assert_gets_nearer(G, images, method: str) -> None:
    """What `method` finds of `images` (B, C, H, W) from 30 % of their pixels is nearer than images drawn at random."""
    A = ilo.operators.RandomInpainting(G.image_shape, keep=0.3, rng=0)
    y = A(images)
    options = {"rng": 0, "progress": False}
    found = {
        "CSGM": lambda: ilo.baselines.csgm(G, A, y, restarts=1, steps=60, penalty=0.0, **options),
        "PULSE": lambda: ilo.baselines.pulse(G, A, y, **options),
        "ILO": lambda: ilo.recover(G, A, y, rounds=with_share(ilo.paper_rounds(G), 0.2), restarts=1, **options),
        "release's rounds": lambda: ilo.recover(G, A, y, rounds=ilo.release_rounds(G), **options),
        "auto": lambda: ilo.recover(G, A, y, rounds=ilo.Auto(budget=400, samples=2), **options),
    }[method]()
    drawn = G(G.sample(64, 0, "start"))
    typical = torch.stack([(A(drawn) - A(image[None])).square().flatten(1).mean(1).median() for image in images])
    error = (A(found.images) - y).square().flatten(1).mean(1)
    assert (error < 0.5 * typical).all(), (error, typical)


def psnr(images, truth) -> torch.Tensor:
    """(B,) in dB, of images whose values span 2."""
    return 10 * torch.log10(4 / (images - truth).square().flatten(1).mean(1))


def small_generator(shape: tuple[int, int, int], factor: int = 1) -> Generator:
    """Images (C, H, W) of six dimensions, smooth where they are enlarged by a factor at the end."""
    channels, height, width = shape
    coarse = (channels, height // factor, width // factor)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 32), nn.Tanh(), nn.Linear(32, math.prod(coarse))]
    layers += [nn.Unflatten(1, coarse)]
    layers += [nn.Upsample(scale_factor=factor, mode="bilinear")] if factor > 1 else []
    cuts = (2, 4, 6) if factor > 1 else (2, 4)
    return Generator.from_sequential(nn.Sequential(*layers, nn.Tanh()), cuts=cuts, latent_shape=(6,), name="small")
