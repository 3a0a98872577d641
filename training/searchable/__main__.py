"""Train a generator for recovery, or go on with a run that was killed."""

import argparse
from pathlib import Path

from safetensors.torch import save_file

from ilo.files import written_atomically
from training.progress import carry_on
from training.searchable.loop import Run, begin, in_units, stepper
from training.searchable.portraits import Portraits, read_portraits, split

SEED = 0
SAVE_EVERY = 240  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.searchable", description=__doc__)
    parser.add_argument("--portraits", type=Path, required=True, help="portraits128.zip: data/README.md says whose")
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file of the averaged weights")
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/training/searchable64.pt"))
    parser.add_argument("--copying", type=int, default=600, help="steps that copy the DCGAN")
    parser.add_argument("--steps", type=int, default=9000, help="steps in all, of 32 images")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    portraits = Portraits(split(read_portraits(args.portraits))[0])
    run = begin(SEED, args.device, args.checkpoint)
    step = stepper(run, SEED, portraits, args.copying, args.steps, args.device)

    def save() -> None:
        run.save(args.checkpoint)
        export(run, args.out)

    carry_on(run, step, args.steps, save, SAVE_EVERY)


def export(run: Run, path: Path) -> None:
    """Write the averaged weights in half precision."""
    weights = {
        name: value.detach().cpu().half().contiguous() for name, value in in_units(run.average.state_dict()).items()
    }
    with written_atomically(path) as temporary:
        save_file(weights, temporary)


if __name__ == "__main__":
    main()
