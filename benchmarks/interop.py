"""The CSGM of this project and deepinv's, in one run on the same images and measurements: time and PSNR.

    python -m benchmarks interop

Four images, three of the generator's own and the astronaut's face, from 10 % of their pixels with noise 0.02 (of images
in [−1, 1]), by the same weights. deepinv's `CSGMGenerator` takes one image at a time and starts once: with its
defaults (2,500 iterations at 0.01, or fewer by its stopping rule), and with its rate at CSGM's 0.1 for 500. Ours is
CSGM (published), Adam at 0.1 from 2 random latents, and CSGM, L-BFGS from 4 linear estimates. Seconds are of an image,
alone and in the batch of all four. Needs the extra `deepinv`; some minutes on one core.
"""

import time

import pandas as pd
import torch
from torch import Tensor, nn

import ilo
from ilo.images import astronaut_face
from ilo.interop.deepinv import Reconstructor, measurements, to_physics  # before deepinv, which loads torchvision
from ilo.metrics import psnr
from ilo.study.methods import METHODS

from deepinv.models import CSGMGenerator  # isort: skip

NOISE, KEEP = 0.02, 0.1


class InUnitRange(nn.Module):
    """Our DCGAN as deepinv's backbone: latents (B, 100, 1, 1) -> images in [0, 1]."""

    def __init__(self, G: ilo.generators.Generator):
        super().__init__()
        self.G, self.nz = G, G.latent_shapes["features"][0]

    def forward(self, z: Tensor) -> Tensor:
        return (self.G({"features": z.flatten(1)}) + 1) / 2


def theirs(G, physics, y: Tensor, **options) -> Tensor:
    model = CSGMGenerator(InUnitRange(G), **options).eval()
    return torch.cat([model(part[None], physics).detach() for part in y]) * 2 - 1


def ours(G, physics, y: Tensor, name: str) -> Tensor:
    A = physics.operator
    found = METHODS[name](A, measurements(A, y), G=G, rng=0, noise=NOISE)
    return found.images if hasattr(found, "images") else found


def auto(G, physics, y: Tensor) -> Tensor:
    return Reconstructor(G)(y, physics) * 2 - 1


RUNS = {
    "deepinv, its defaults": lambda *problem: theirs(*problem),
    "deepinv, 500 at 0.1": lambda *problem: theirs(*problem, inf_max_iter=500, inf_lr=0.1, inf_tol=0.0),
    "CSGM (published)": lambda *problem: ours(*problem, "CSGM (published)"),
    "CSGM": lambda *problem: ours(*problem, "CSGM"),
    "ILO auto, by Reconstructor": auto,
}


def main() -> None:
    G = ilo.generators.load("dcgan-digiface64")
    with torch.no_grad():
        truth = torch.cat([G(G.sample(3, 5, "truth")), astronaut_face(64)])
    A = ilo.operators.RandomInpainting(G.image_shape, keep=KEEP, rng=0)
    physics = to_physics(A, noise=NOISE)
    torch.manual_seed(0)  # deepinv draws from torch's own
    y = physics((truth + 1) / 2)
    print(f"{G.name}, {KEEP:.0%} of the pixels, noise {NOISE}, {torch.get_num_threads()} threads of torch")
    rows = []
    for name, run in RUNS.items():
        torch.manual_seed(1)
        seconds = {}
        for count in (1, len(truth)):
            began = time.perf_counter()
            images = run(G, physics, y[:count])
            seconds[count] = (time.perf_counter() - began) / count
        found = psnr(images.clamp(-1, 1), truth).tolist()
        row = {"in range 1": found[0], "2": found[1], "3": found[2], "astronaut": found[3]}
        row |= {"s an image, alone": seconds[1], f"s an image of {len(truth)}": seconds[len(truth)]}
        rows.append(pd.DataFrame(row, index=[name]))
        print(rows[-1].round(2).to_string(header=len(rows) == 1), flush=True)


if __name__ == "__main__":
    main()
