"""deepinv and this project in one run on the same images: the two CSGMs, and our solver on deepinv's operators.

    python -m benchmarks interop

Four images, three of the generator's own and the astronaut's face, from 10 % of their pixels with noise 0.02 (of images
in [−1, 1]), by the same weights. deepinv's `CSGMGenerator` takes one image at a time and starts once: with its
defaults (2,500 iterations at 0.01, or fewer by its stopping rule), and with its rate at CSGM's 0.1 for 500. Ours is
CSGM (published), Adam at 0.1 from 2 random latents, and CSGM, L-BFGS from 4 linear estimates. Seconds are of an image,
alone and in the batch of all four. Then deepinv's operators on RGB images, the same noise on each: the dot-test of
`from_physics`, and the mean PSNR of the four images by deepinv's own linear inverse (A_dagger), by ILO auto and by its
sharp image. Needs the extra `deepinv`; ten minutes on one core.
"""

import math
import time

import pandas as pd
import torch
from torch import Tensor, nn

import ilo
from ilo import operators
from ilo.images import astronaut_face
from ilo.interop.deepinv import Reconstructor, from_physics, measurements, to_physics  # before deepinv itself
from ilo.metrics import psnr
from ilo.study.methods import METHODS

from deepinv import physics  # isort: skip
from deepinv.models import CSGMGenerator  # isort: skip
from deepinv.physics.functional import gaussian_blur  # isort: skip

NOISE, KEEP = 0.02, 0.1


class InUnitRange(nn.Module):
    """Our DCGAN as deepinv's backbone: latents (B, 100, 1, 1) -> images in [0, 1]."""

    def __init__(self, G: ilo.generators.Generator):
        super().__init__()
        self.G, self.nz = G, G.latent_shapes["features"][0]

    def forward(self, z: Tensor) -> Tensor:
        return (self.G({"features": z.flatten(1)}) + 1) / 2


def theirs(G, measured, y: Tensor, **options) -> Tensor:
    model = CSGMGenerator(InUnitRange(G), **options).eval()
    return torch.cat([model(part[None], measured).detach() for part in y]) * 2 - 1


def ours(G, measured, y: Tensor, name: str) -> Tensor:
    A = measured.operator
    found = METHODS[name](A, measurements(A, y), G=G, rng=0, noise=NOISE)
    return found.images if hasattr(found, "images") else found


def auto(G, measured, y: Tensor) -> Tensor:
    return Reconstructor(G)(y, measured) * 2 - 1


RUNS = {
    "deepinv, its defaults": lambda *problem: theirs(*problem),
    "deepinv, 500 at 0.1": lambda *problem: theirs(*problem, inf_max_iter=500, inf_lr=0.1, inf_tol=0.0),
    "CSGM (published)": lambda *problem: ours(*problem, "CSGM (published)"),
    "CSGM": lambda *problem: ours(*problem, "CSGM"),
    "ILO auto, by Reconstructor": auto,
}


GAUSSIAN = gaussian_blur(sigma=(2.0, 2.0))
PHYSICS = {
    "Inpainting, 10 %": lambda shape: physics.Inpainting(img_size=shape, mask=0.1),
    "Demosaicing": lambda shape: physics.Demosaicing(img_size=shape),
    "Decolorize": lambda shape: physics.Decolorize(),
    "Blur of 2 px": lambda shape: physics.Blur(filter=GAUSSIAN, padding="reflect"),
    "Downsampling × 4": lambda shape: physics.Downsampling(img_size=shape, factor=4, filter="bicubic"),
    "CompressedSensing, 5 %": lambda shape: physics.CompressedSensing(m=math.prod(shape) // 20, img_size=shape),
    "SinglePixelCamera, 5 %": lambda shape: physics.SinglePixelCamera(m=shape[1] * shape[2] // 20, img_size=shape),
    "Tomography, 10 angles": lambda shape: physics.Tomography(angles=10, img_width=shape[-1], normalize=True),
    "Inpainting and Downsampling": lambda shape: physics.Inpainting(img_size=shape, mask=0.05).stack(
        physics.Downsampling(img_size=shape, factor=8, filter="bicubic")
    ),
}


def on_their_operators(G, truth: Tensor) -> pd.DataFrame:
    rows = {}
    for name, make in PHYSICS.items():
        torch.manual_seed(0)
        each = make(G.image_shape)
        A = from_physics(each, G.image_shape)
        flat = operators.measure(A, truth, noise=NOISE, rng=0)
        y = A.unflat((flat + A(torch.ones(1, *G.image_shape))) / 2)  # as deepinv measures images in [0, 1]
        each.set_noise_model(physics.GaussianNoise(NOISE / 2))
        model = Reconstructor(G)
        model(y, each)
        linear = (2 * each.A_dagger(y) - 1).clamp(-1, 1)
        found = {"A_dagger": linear, "ILO auto": model.result.images, "ILO auto, sharp": model.result.sharp}
        rows[name] = {"m": A.shape_out[0], "dot-test": f"{operators.dot_test(A):.0e}"}
        rows[name] |= {method: psnr(images, truth).mean().item() for method, images in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    G = ilo.generators.load("dcgan-digiface64")
    with torch.no_grad():
        truth = torch.cat([G(G.sample(3, 5, "truth")), astronaut_face(64)])
    measured = to_physics(operators.RandomInpainting(G.image_shape, keep=KEEP, rng=0), noise=NOISE)
    torch.manual_seed(0)  # deepinv draws from torch's own
    y = measured((truth + 1) / 2)
    print(f"{G.name}, {KEEP:.0%} of the pixels, noise {NOISE}, {torch.get_num_threads()} threads of torch")
    rows = []
    for name, run in RUNS.items():
        torch.manual_seed(1)
        seconds = {}
        for count in (1, len(truth)):
            began = time.perf_counter()
            images = run(G, measured, y[:count])
            seconds[count] = (time.perf_counter() - began) / count
        found = psnr(images.clamp(-1, 1), truth).tolist()
        row = {"in range 1": found[0], "2": found[1], "3": found[2], "astronaut": found[3]}
        row |= {"s an image, alone": seconds[1], f"s an image of {len(truth)}": seconds[len(truth)]}
        rows.append(pd.DataFrame(row, index=[name]))
    print(pd.concat(rows).round(2).to_string())
    print(f"deepinv's operators, noise {NOISE}\n{on_their_operators(G, truth).round(2).to_string()}")


if __name__ == "__main__":
    main()
