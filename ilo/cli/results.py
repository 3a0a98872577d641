"""What ``ilo recover`` leaves in its folder."""

import argparse
import json
from pathlib import Path

import matplotlib
from torch import Tensor

from ilo import metrics
from ilo.cli.measuring import Measured
from ilo.files import written_atomically
from ilo.images import write_image
from ilo.solver.result import Result

NAMES = {  # of `ilo.study.METHODS`
    "auto": "ILO auto",
    "paper": "ILO",
    "whitened": "ILO (whitened)",
    "release": "ILO (release)",
    "csgm": "CSGM",
}


def write_results(out: Path, options: argparse.Namespace, result: Result, seen: Measured) -> list[str]:
    """Write images, result and report of the one problem; say its scores; return the files' names."""
    images = result.images.cpu().clamp(-1, 1)  # a StyleGAN2's are not bounded; the saved result keeps them as they are
    write_image(out / "recovered.png", images[0])
    result.save(out / "result.safetensors")
    columns = {"Measurements": seen.A.cpu().picture(seen.y.cpu()), NAMES[options.rounds]: images}
    written = ["recovered.png", "comparison.png", "result.safetensors", "report.json"]
    if options.rounds == "auto":
        columns |= _write_what_auto_adds(out, result)
        written += ["sharp.png", "spread.png", "tries.csv"]
    scores = {}
    if seen.truth is not None:
        columns = {"Truth": seen.truth, **columns}
        scores = metrics.evaluate(images, seen.truth).iloc[0].to_dict()
        print("PSNR {psnr:.2f} dB, SSIM {ssim:.3f}, LPIPS {lpips:.3f}".format(**scores))
    _write_comparison(out / "comparison.png", columns)
    asked = {name: value for name, value in vars(options).items() if name != "run"}
    found = {"status": result.status[0], **result.parameters, "objective": float(result.objective[0])}
    with written_atomically(out / "report.json") as temporary:
        temporary.write_text(json.dumps({**asked, **found, **scores}, indent=1, default=str) + "\n", encoding="utf-8")
    return written


def _write_what_auto_adds(out: Path, result: Result) -> dict[str, Tensor]:
    """The sharp image, the spread and the settings tried; return the images, (1, C, H, W) in [−1, 1]."""
    sharp = result.sharp.cpu().clamp(-1, 1)
    # the spread as grey levels: white is a standard deviation of 0.5, a quarter of the range of values, and more
    spread = result.spread.cpu().square().mean(1, keepdim=True).sqrt().expand_as(sharp)
    spread = (4 * spread - 1).clamp(-1, 1)
    write_image(out / "sharp.png", sharp[0])
    write_image(out / "spread.png", spread[0])
    with written_atomically(out / "tries.csv") as temporary:
        result.tries.to_csv(temporary, index=False)
    return {"ILO auto, sharp": sharp, "Spread": spread}


def _write_comparison(path: Path, columns: dict[str, Tensor]) -> None:
    matplotlib.use("Agg")  # files only, whatever the user's display
    from ilo import plots

    plots.use_style()
    with written_atomically(path) as temporary:
        figure = plots.comparison_grid(columns)
        figure.savefig(temporary)
        plots.plt.close(figure)  # pyplot keeps figures, and warns at the twentieth
