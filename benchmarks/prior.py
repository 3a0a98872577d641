"""Is a generator a better prior than another? The same searches with both, on the same images: rows of each.

    python -m benchmarks prior --to ROWS.csv dcgan-digiface64 runs/training/searchable64.safetensors

Generators are names of `ilo.generators.load` or files that `python -m training.searchable` wrote; a row has the name,
or the file's without its ending. Problems: 2, 5, 10 and 20 % of the pixels, 5 % Gaussian, ×4, ×8, eyes, mouth and half
missing, colourisation. Methods: CSGM, the paper's ILO, PULSE, and auto. Images: those of CSGM's CelebA test images that
--celeba numbers (1–32 choose, 33–64 judge), and the first of those portraits that no training sees.

--sphere: with the generators' latents taken to the sphere of N(0, I), as decoder-portraits64 takes its own; a row's
generator says so. What of a difference is that, and not the training?

Rows go to the file as each problem ends, and several processes may share it; one that was interrupted resumes from its
cells in runs/cells. Needs celebAtest.zip (data/README.md says where from), unless --celeba 0.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rows import put
from ilo import generators, study
from ilo.provenance import revision
from ilo.study.methods import methods_for
from training.searchable.portraits import read_portraits, split

PROBLEMS = {
    **{f"inpainting:{100 * keep:g}": study.inpainting(keep) for keep in (0.02, 0.05, 0.1, 0.2)},
    "Gaussian:5": study.gaussian(0.05),
    **{f"super-resolution:{factor}": study.superres(factor) for factor in (4, 8)},
    **{name: study.region(name) for name in ("eyes", "mouth", "half")},
    "colourisation": study.colourisation(),
}
METHODS = ("CSGM", "ILO", "PULSE", "ILO auto")
COLUMNS = [*study.KEYS, "mse", "psnr", "ssim", "lpips", "covered", "evaluations"]


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    for name in options.generators:
        G = generators.load(name)
        subjects = images(options, G.image_shape[-1])
        label = Path(name).stem if Path(name).suffix else name
        if options.sphere:
            G, label = on_sphere(G), f"{label}, on the sphere"
        for problem in (PROBLEMS[word] for word in options.problems):
            methods = methods_for(problem, options.methods, restarts=options.restarts)
            rows = study.run(subjects, [problem], methods, G=G).reindex(columns=COLUMNS)
            rows = rows[rows["method"] != "oracle"].assign(generator=label, revision=revision())
            put(options.to, rows, [*study.KEYS, "generator"])
    rows = pd.read_csv(options.to)
    rows["set"] = rows["image"].str.split().str[0]
    for metric, digits in (("psnr", 2), ("lpips", 3)):
        table = rows.pivot_table(
            index=["set", "task", "level"], columns=["method", "generator"], values=metric, sort=False
        )
        print(f"\n{metric}\n{table.round(digits).to_string()}")


class OnSphere(nn.Module):
    """A first layer that only the direction of a latent counts for."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, state: generators.State) -> generators.State:
        z = state["features"]  # (B, n)
        return self.layer({**state, "features": F.normalize(z, dim=1) * math.sqrt(z.shape[1])})


def on_sphere(G: generators.Generator) -> generators.Generator:
    return G.with_layers([OnSphere(G.layers[0]), *G.layers[1:]])


def images(options: argparse.Namespace, size: int) -> tuple[list[str], Tensor]:
    first, last = options.celeba
    chosen = range(first - 1, last)
    names = [f"CelebA {i + 1}" for i in chosen]
    parts = [study.csgm_test_images(size)[list(chosen)]] if names else []
    if options.portraits:
        left_out = split(read_portraits(options.portraits))[1][: options.left_out]
        names += [f"portrait {i + 1}" for i in range(len(left_out))]
        parts.append(F.interpolate(left_out, size=size, mode="area"))
    return names, torch.cat(parts)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks prior", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("generators", nargs="+", metavar="GENERATOR")
    parser.add_argument("--to", type=Path, required=True, help="CSV file of the rows, read and written")
    parser.add_argument("--celeba", type=span, default=(1, 32), metavar="FIRST-LAST", help="(default: 1-32); 0: none")
    parser.add_argument("--portraits", type=Path, help="portraits128.zip (data/README.md)")
    parser.add_argument("--left-out", type=int, default=8, help="portraits, of those that no training sees")
    parser.add_argument("--problems", nargs="+", choices=[*PROBLEMS], default=[*PROBLEMS], help="(default: all)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], help="(default: all)")
    parser.add_argument("--sphere", action="store_true", help="take latents to the sphere of N(0, I)")
    parser.add_argument("--restarts", type=int, default=4, help="of CSGM, ILO and PULSE (default: %(default)s)")
    return parser.parse_args(arguments)


def span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return (1, 0) if text == "0" else (int(first), int(last or first))
