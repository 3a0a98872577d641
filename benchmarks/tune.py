"""How the baselines' settings were chosen: eight values for every method, on images that no experiment tests on.

    python -m benchmarks tune                      (or some: python -m benchmarks tune total_variation)

Four faces of the generator, the astronaut's face and three photos of scikit-image, 64×64. Prints, for every method, the
mean PSNR in dB of every task and value; which value falls least short of each task's best, on average over the tasks;
and how far short the default falls. The methods that are fast see every task, those that train or search a network
half of the images and four tasks. No method gets more than 200 steps here. Some 20 minutes on one slow core.

Settings: the factor of `ilo.baselines.default_weight` for LASSO and total variation; the width and the learning rate
of the deep decoder; CSGM's penalty on the latent; PULSE's learning rate. For the last two the defaults are what
their authors published, whatever this table says.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import skimage.data
import torch
from PIL import Image
from torch import Tensor

import ilo
from ilo import baselines, metrics, operators, study
from ilo.baselines import weights
from ilo.images import astronaut_face

SEED = 77
SHAPE = (3, 64, 64)
FEW = [study.inpainting(0.1), study.gaussian(0.05), study.superres(4), study.denoising(0.3)]
MANY = [
    *FEW,
    *(study.inpainting(0.05), study.inpainting(0.2, noise=0.1)),
    *(study.circulant(0.05), study.circulant(0.2), study.circulant(0.2, noise=0.1)),
    *(study.superres(2), study.superres(8), study.denoising(0.1), study.denoising(0.5)),
    *(study.deblurring(2.0), study.colourisation()),
]
FACTORS = (0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4, 3.2)
PENALTIES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
RATES = (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
DECODERS = tuple((width, lr) for width in (12, 16, 24, 32) for lr in (0.01, 0.03))


def prior(method: str, solve: Callable) -> Callable:
    """A method whose setting is the factor of its weight."""

    def run(G, A, y: Tensor, noise: float, factor: float) -> Tensor:
        weight = factor / weights.FACTORS[method] * baselines.default_weight(method, A, noise)
        return solve(A, y, weight=weight, steps=150)

    return run


def decoder(G, A, y: Tensor, noise: float, value: tuple[int, float]) -> Tensor:
    width, lr = value
    return baselines.deep_decoder(A, y, width=width, lr=lr, steps=200)


def csgm(G, A, y: Tensor, noise: float, value: float) -> Tensor:
    return baselines.csgm(G, A, y, penalty=value, steps=200, restarts=1, progress=False).images


def pulse(G, A, y: Tensor, noise: float, value: float) -> Tensor:
    return baselines.pulse(G, A, y, lr=value, progress=False).images


METHODS: Mapping[str, tuple] = {  # the run, the values tried, the default, the problems, every how manyth image
    "total_variation": (
        prior("total_variation", baselines.total_variation), FACTORS, weights.FACTORS["total_variation"], MANY, 1,
    ),
    "lasso_dct": (prior("lasso_dct", baselines.lasso_dct), FACTORS, weights.FACTORS["lasso_dct"], MANY, 1),
    "lasso_wavelet": (
        prior("lasso_wavelet", baselines.lasso_wavelet), FACTORS, weights.FACTORS["lasso_wavelet"], MANY, 1,
    ),
    "deep_decoder": (decoder, DECODERS, (32, 0.03), FEW, 2),
    "pulse": (pulse, RATES, 0.4, FEW, 2),
    "csgm": (csgm, PENALTIES, 0.001, FEW, 2),
}  # fmt: skip


@torch.no_grad()
def tuning_images(G) -> Tensor:
    """Eight images (8, 3, 64, 64): four in the generator's range, a face and three photos that are not."""
    photos = [_photo(getattr(skimage.data, name)()) for name in ("chelsea", "coffee", "rocket")]
    return torch.cat([G(G.sample(4, SEED, "truth")), astronaut_face(), *photos])


def _photo(pixels) -> Tensor:
    image = Image.fromarray(pixels).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    small = image.crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.BICUBIC)
    levels = torch.tensor(list(small.tobytes()), dtype=torch.float32).view(1, 64, 64, 3)
    return (levels / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def table(G, method: str, truth: Tensor) -> pd.DataFrame:
    """Mean PSNR, a row per problem and a column per value."""
    run, values, _, problems, stride = METHODS[method]
    rows = {}
    for problem in problems:
        A, x = problem.operator(SHAPE, rng=0), truth[::stride]
        y = operators.measure(A, x, noise=problem.noise, rng=SEED)
        rows[str(problem)] = [metrics.psnr(run(G, A, y, problem.noise, value), x).mean().item() for value in values]
    return pd.DataFrame(rows, index=[str(value) for value in values]).T


def main(arguments: Sequence[str] = ()) -> None:
    if unknown := sorted(set(arguments) - METHODS.keys()):
        sys.exit(f"no method {unknown}: choose from {', '.join(METHODS)}")
    G = ilo.generators.load("dcgan-digiface64")
    truth = tuning_images(G)
    for method in arguments or METHODS:
        began = time.perf_counter()
        found = table(G, method, truth)
        short = found.sub(found.max(axis=1), axis=0)  # dB below the task's best value
        default = str(METHODS[method][2])
        print(f"{method}: PSNR in dB, {time.perf_counter() - began:.0f} s")
        print(pd.concat([found, short.mean().to_frame("mean shortfall").T]).round(2).to_string())
        tried = f"{short[default].mean():.2f} dB on average, {short[default].min():.2f} at worst"
        print(f"least shortfall: {short.mean().idxmax()}; the default, {default}: {tried}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
