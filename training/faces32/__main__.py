"""Train the StyleGAN2 of data/weights, or go on with a run that was killed: python -m training.faces32 --out FILE."""

import argparse
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from ilo.files import written_atomically
from ilo.generators.checkpoints.read import FORMAT
from ilo.rng import stream
from training.faces32.loop import BATCH, Run, begin, stepper
from training.faces32.network import Z_DIM, styles_of
from training.progress import carry_on

SEED = 0
SAVE_EVERY = 120  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.faces32", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file of the averaged weights")
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/training/stylegan2-faces32.pt"))
    parser.add_argument("--distilled", type=int, default=2648, help=f"steps of {BATCH} images that copy the teacher")
    parser.add_argument("--adversarial", type=int, default=1552, help="steps after those, with a discriminator")
    parser.add_argument("--calm", type=int, default=800, help="steps after those, at lower rates")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    run = begin(SEED, args.device, args.checkpoint)
    step = stepper(run, SEED, args.distilled, args.adversarial, args.device)
    steps = args.distilled + args.adversarial + args.calm
    carry_on(run, step, steps, partial(run.save, args.checkpoint), SAVE_EVERY)
    export(run, args.out)


@torch.no_grad()
def export(run: Run, path: Path) -> None:
    """Write the averaged weights, in half precision, as `ilo.generators.load` reads them."""
    weights = {name: value.cpu() for name, value in run.average.items()}
    z = torch.randn(16384, Z_DIM, generator=stream(SEED, "prior"))
    weights["mapping.w_avg"] = styles_of(weights, z).mean(0)
    with written_atomically(path) as temporary:
        save_file({name: value.half().contiguous() for name, value in weights.items()}, temporary, {"format": FORMAT})


if __name__ == "__main__":
    main()
