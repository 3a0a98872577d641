"""``ilo recover``: one photo, measured by the program or given as measurements, recovered and written to a folder."""

import argparse
import json
import math
import sys
from pathlib import Path

import torch

from ilo.auto.plan import Auto

TASKS = ("inpaint", "superres", "denoise", "compress", "colourise", "deblur")

RECOVER_HELP = """\
Recover a photo from measurements of it.

By default the photo is measured by the program (so that the result can be compared with it):
  ilo recover face.png --task inpaint --keep 0.1         random pixels
  ilo recover face.png --task superres --factor 4
  ilo recover face.png --task denoise --noise 0.2
  ilo recover face.png --task compress --fraction 0.05   Gaussian measurements
  ilo recover face.png --task colourise
  ilo recover face.png --task deblur --blur 2

Measurements that are given, with no truth to compare with:
  ilo recover holes.png --task inpaint --mask mask.png   white = seen, black = missing
  ilo recover small.png --task superres --measured       the file is the low-resolution image
  ilo recover noisy.png --task denoise --measured        likewise grey or blurred photos

Written to the folder (PHOTO-recovered, or --out): recovered.png; comparison.png, all images side by side;
result.safetensors, which ilo.load_result reads; report.json, options, settings and scores. And unless --rounds says
otherwise: sharp.png, which looks more like a photo and is further from the truth; spread.png, the error to expect of
each pixel, from black (none) to white (a quarter of the range from black to white, or more); tries.csv, the settings
that were tried, with the error of each on the measurements held out.

The default generator makes 64×64 faces: the photo is cropped to its central square (or --crop) and resized to
64×64, and the face should fill it as in a passport photo. Another generator, such as a StyleGAN2 checkpoint, brings its
own size: --generator network.pkl (NVIDIA's .pkl, rosinality's .pt, BigGAN-PyTorch's .pth, safetensors).
"""


def add_command(commands) -> None:
    """Add `recover` to the commands of `ilo`, an argparse subparsers action."""
    parser = commands.add_parser(
        "recover",
        help="recover a photo from measurements",
        description=RECOVER_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photo", type=Path, help="image file: the truth, or with --mask/--measured the measurements")
    parser.add_argument("--task", choices=TASKS, default="inpaint", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=None, help="folder for the results (default: PHOTO-recovered)")
    problem = parser.add_argument_group("the measurements")
    problem.add_argument("--keep", type=float, default=0.1, help="inpaint: fraction of pixels seen (default: 0.1)")
    problem.add_argument("--mask", type=Path, help="inpaint: image of what is seen (white) and missing (black)")
    problem.add_argument("--factor", type=int, default=4, help="superres: down-sampling factor (default: 4)")
    problem.add_argument("--kernel", choices=("bicubic", "box"), default="bicubic", help="superres (default: bicubic)")
    problem.add_argument("--fraction", type=float, default=0.1, help="compress: measurements / unknowns (default: 0.1)")
    problem.add_argument("--blur", type=float, default=2.0, help="deblur: standard deviation in pixels (default: 2)")
    problem.add_argument("--noise", type=float, help="std of the noise added (default: 0.02; denoise: 0.2)")
    problem.add_argument("--measured", action="store_true", help="the photo is the measurements, not the truth")
    problem.add_argument("--crop", type=_crop, help="LEFT,TOP,RIGHT,BOTTOM in pixels (default: the central square)")
    solver = parser.add_argument_group("the solver")
    solver.add_argument(
        "--rounds",
        choices=("auto", "fixed", "csgm"),
        default="auto",
        help="auto: layer, radius and stopping point are chosen by measurements that are held out, the image is the "
        "mean of several solutions, sharp.png is one solution, and spread.png shows where they differ; fixed: "
        "ilo.default_rounds; csgm: the latent alone (default: auto)",
    )
    solver.add_argument("--budget", type=int, help=f"auto: gradient evaluations, at most (default: {Auto.budget})")
    solver.add_argument("--samples", type=int, help=f"auto: solutions side by side (default: {Auto.samples})")
    solver.add_argument(
        "--noise-known",
        type=float,
        metavar="STD",
        help="auto: the noise of the measurements (default: that of --noise where the program adds it, else estimated)",
    )
    solver.add_argument("--generator", default="dcgan-digiface64", help="name or file (default: %(default)s)")
    solver.add_argument("--restarts", type=int, help="fixed, csgm: starting latents tried (default: 3)")
    solver.add_argument("--seed", type=int, default=0, help="(default: 0)")
    solver.add_argument("--device", default=None, help="cpu, cuda, … (default: cuda if there is one)")
    solver.add_argument("--half", action="store_true", help="compute in bfloat16: less memory, images differ by 1 %%")
    solver.add_argument(
        "--checkpointing", action="store_true", help="keep less, compute more: same result, less memory"
    )
    solver.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def _crop(text: str) -> tuple[int, int, int, int]:
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected LEFT,TOP,RIGHT,BOTTOM, got {text!r}") from None
    return left, top, right, bottom


def run(options: argparse.Namespace) -> int:
    """Recover the photo, write the results, return the exit code 0. Errors are `ilo.cli.main.main`'s to report."""
    import matplotlib

    matplotlib.use("Agg")  # files only, whatever the user's display
    import ilo
    from ilo import metrics, plots
    from ilo.assets import fetch
    from ilo.files import written_atomically
    from ilo.images import write_image

    _settle(options)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    G = ilo.generators.load(options.generator, device=device)
    if options.checkpointing or options.half:
        G = ilo.generators.economical(G, checkpointing=options.checkpointing, half=options.half)
    A, y, truth = _measurements(options, G.image_shape)
    out = options.out or options.photo.with_name(f"{options.photo.stem}-recovered")
    if truth is not None:
        fetch("lpips-alex")  # now rather than after the work
    auto = options.rounds == "auto"
    if auto:
        known = (
            options.noise_known if options.noise_known is not None else (_noise(options) if truth is not None else None)
        )
        rounds, copies = ilo.Auto(budget=options.budget, samples=options.samples, noise=known), options.samples
    else:
        rounds = ilo.csgm_rounds(G) if options.rounds == "csgm" else ilo.default_rounds(G)
        copies = options.restarts
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    if report := ilo.generators.memory_report(G, copies):
        print(f"memory: {report} (flags: --half, --checkpointing, --samples or --restarts)", flush=True)
    restarts = 1 if auto else options.restarts
    try:
        result = ilo.recover(G, A, y, rounds=rounds, rng=options.seed, restarts=restarts, progress=not options.quiet)
    except ValueError:
        if made:
            out.rmdir()  # a mistake leaves nothing behind
        raise
    images = result.images.cpu().clamp(-1, 1)  # a StyleGAN2's are not bounded; the saved result keeps them as they are

    write_image(out / "recovered.png", images[0])
    result.save(out / "result.safetensors")
    name = "CSGM" if options.rounds == "csgm" else "ILO"
    columns = {"Measurements": A.cpu().picture(y.cpu()), name: images}
    written = ["recovered.png", "comparison.png", "result.safetensors", "report.json"]
    if auto:
        columns["ILO, sharp"] = result.sharp.cpu().clamp(-1, 1)
        write_image(out / "sharp.png", columns["ILO, sharp"][0])
        # the spread as grey levels: white is a standard deviation of 0.5, a quarter of the range of values, and more
        spread = result.spread.cpu().square().mean(1, keepdim=True).sqrt().expand_as(images)
        columns["Spread"] = (4 * spread - 1).clamp(-1, 1)
        write_image(out / "spread.png", columns["Spread"][0])
        with written_atomically(out / "tries.csv") as temporary:
            result.tries.to_csv(temporary, index=False)
        written += ["sharp.png", "spread.png", "tries.csv"]
    asked = {name: value for name, value in vars(options).items() if name != "run"}
    report = {**asked, "status": result.status[0], **result.parameters}
    report["objective"] = float(result.objective[0])
    if truth is not None:
        columns = {"Truth": truth, **columns}
        report |= metrics.evaluate(images, truth).iloc[0].to_dict()
        print("PSNR {psnr:.2f} dB, SSIM {ssim:.3f}, LPIPS {lpips:.3f}".format(**report))
    plots.use_style()
    with written_atomically(out / "comparison.png") as temporary:
        figure = plots.comparison_grid(columns)
        figure.savefig(temporary)
        plots.plt.close(figure)  # pyplot keeps figures, and warns at the twentieth
    with written_atomically(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1, default=str) + "\n")
    print(f"status: {result.status[0]}; wrote to {out}: {', '.join(written)}")
    return 0


def _settle(options: argparse.Namespace) -> None:
    """Fill in the solver's defaults; ValueError for a flag that the chosen rounds would not look at."""
    of_auto = {"budget": Auto.budget, "samples": Auto.samples, "noise_known": None}
    if options.rounds == "auto":
        if options.restarts is not None:
            print("ilo: --restarts is of --rounds fixed and csgm, and not used; auto has --samples", file=sys.stderr)
    elif given := [f"--{name.replace('_', '-')}" for name in of_auto if getattr(options, name) is not None]:
        raise ValueError(f"{' and '.join(given)} cannot go with --rounds {options.rounds}, only with auto")
    if options.noise_known is not None and not 0 <= options.noise_known < math.inf:
        raise ValueError(f"--noise-known is a standard deviation of at least 0, got {options.noise_known}")
    for name, default in {**of_auto, "restarts": 3}.items():
        if getattr(options, name) is None:
            setattr(options, name, default)


def _measurements(options: argparse.Namespace, shape: tuple[int, int, int]):
    """Return the operator, the measurements (1, ...) and the truth (1, C, H, W) or None."""
    from ilo import operators
    from ilo.images import read_image, read_seen

    if options.mask is not None:
        if options.task != "inpaint":
            raise ValueError("--mask goes with --task inpaint")
        photo, seen = read_seen(options.photo, options.mask, size=shape[-1], crop=options.crop)
        A = operators.Inpainting(seen, channels=shape[0])
        return A, A(photo), None
    A = _operator(options, shape)
    if options.measured:
        return A, _measured(options, A), None
    truth = read_image(options.photo, size=shape[-1], crop=options.crop)
    return A, operators.measure(A, truth, noise_std=_noise(options), rng=options.seed), truth


def _noise(options: argparse.Namespace) -> float:
    """Standard deviation of the noise that the program adds to its measurements."""
    return options.noise if options.noise is not None else (0.2 if options.task == "denoise" else 0.02)


def _operator(options: argparse.Namespace, shape: tuple[int, int, int]):
    from ilo import operators

    if options.task == "inpaint":
        return operators.RandomInpainting(shape, keep=options.keep, rng=options.seed)
    if options.task == "superres":
        return operators.Downsample(shape, factor=options.factor, kernel=options.kernel)
    if options.task == "compress":
        if not 0 < options.fraction <= 1:
            raise ValueError(f"--fraction must lie in (0, 1], got {options.fraction}")
        m = max(1, round(options.fraction * math.prod(shape)))
        return operators.GaussianSensing(shape, m=m, rng=options.seed)
    if options.task == "colourise":
        return operators.Grayscale(shape)
    if options.task == "deblur":
        return operators.Blur(shape, sigma=options.blur)
    return operators.Identity(shape)


def _measured(options: argparse.Namespace, A):
    """Read a photo that is itself the measurements: its size must be what the operator gives."""
    from ilo.images import read_image

    if options.task in ("inpaint", "compress"):
        raise ValueError(
            f"--measured does not go with --task {options.task}: an image file cannot hold its measurements "
            "(for a photo with holes give --mask)"
        )
    channels, height, width = A.shape_out
    photo = read_image(options.photo, crop=options.crop)
    if tuple(photo.shape[-2:]) != (height, width):
        raise ValueError(
            f"{options.photo} is {photo.shape[-1]}×{photo.shape[-2]}, but --task {options.task} on this generator "
            f"measures {width}×{height} pixels: crop it by --crop, or resize it to that"
        )
    return photo.mean(1, keepdim=True) if channels == 1 else photo
