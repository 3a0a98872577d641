"""The command line: ``ilo recover``, ``ilo convert``, ``ilo fetch``, ``ilo reproduce``, ``ilo verify``.

Exit codes: 0 success; 1 the work failed (a notebook, a download), or results moved; 2 the request was wrong (argparse's
own code too); 130 interrupted.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ilo.cli import recover as recover_command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        # what the user can mend reads as a sentence; anything else is a fault of ours and keeps its traceback
        print(f"ilo: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    except KeyboardInterrupt:
        print("ilo: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        prog="ilo", description="Intermediate Layer Optimization: inverse problems with a pre-trained generator."
    )
    parser.add_argument("--version", action="version", version=f"ilo {version('ilo')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    recover_command.add_command(commands)
    _add_convert(commands)
    _add_fetch(commands)
    _add_reproduce(commands)
    _add_verify(commands)
    return parser


def _add_convert(commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="write a generator's checkpoint as safetensors",
        description="Read a checkpoint (NVIDIA's StyleGAN2-ADA .pkl, rosinality's .pt, BigGAN-PyTorch's .pth, "
        "safetensors), recognised by what it holds and not by its name, and write its generator as safetensors. "
        "Nothing in the file is run: a pickle that asks for anything but weights is refused (exit code 2).",
    )
    parser.add_argument("source", type=Path, help="checkpoint file")
    parser.add_argument("target", type=Path, help="safetensors file to write; replaced as a whole if it exists")
    parser.set_defaults(run=run_convert)


def _add_fetch(commands) -> None:
    parser = commands.add_parser(
        "fetch",
        help="download and verify the pre-trained parts",
        description="Download the pre-trained parts into the per-user cache (ILO_CACHE overrides), verified by their "
        "sha256. With ILO_ASSETS=FOLDER already-downloaded files are used and nothing is downloaded.",
    )
    parser.set_defaults(run=run_fetch)


def _add_reproduce(commands) -> None:
    parser = commands.add_parser(
        "reproduce",
        help="run the experiments' notebooks and write figures/",
        description="Execute the notebooks of a profile (notebooks/profiles.yaml) and write their figures, numbers "
        "and provenance. Executed notebooks go to runs/.",
    )
    parser.add_argument("--profile", default="quick", help="quick (two cores, minutes) or full (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="notebooks whose name contains NAME")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time (default: %(default)s)")
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="compute the grids on the workers of this Dask scheduler (tcp://host:8786), on a worker's GPU if it has "
        "one (start one worker a GPU, with that GPU in CUDA_VISIBLE_DEVICES); 'local' starts workers here, one a core "
        "or GPU",
    )
    parser.add_argument("--device", help="cpu, cuda, …, for the notebooks that take it")
    parser.add_argument("--generator", help="name or file, for the notebooks that take it")
    parser.add_argument("--images", help="folder of your own photos, for the notebooks that take it")
    parser.add_argument("--list", action="store_true", help="say what would run, and stop")
    parser.set_defaults(run=run_reproduce)


def _add_verify(commands) -> None:
    parser = commands.add_parser(
        "verify",
        help="compare a fresh run's numbers with the committed ones",
        description="Compare the CSV files of a run with those of the same name in data/reference/ (celeba.csv) and "
        "data/reference/quick/ (the figures of the quick profile): the mean of each metric by task, level and method, "
        "over the images, seeds and evaluations that both have, within the tolerances of ilo/verify.py. Exit code 0: "
        "nothing moved; 1: something moved or is missing, and it is said what; 2: there was nothing to compare.",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="the run's CSV files (default: figures/)")
    parser.add_argument("--reference", type=Path, help="what to compare with (default: data/reference/)")
    parser.add_argument(
        "--update", action="store_true", help="compare nothing: make the run's files the reference's quick/"
    )
    parser.set_defaults(run=run_verify)


def run_convert(options: argparse.Namespace) -> int:
    from ilo.generators import convert

    if options.target.is_dir():
        raise ValueError(f"{options.target} is a folder: name the file to write, such as generator.safetensors")
    checkpoint = convert(options.source, options.target)
    print(f"{options.source}: {checkpoint.describe()}")
    print(f"wrote {options.target}; use it by: ilo recover photo.jpg --generator {options.target}")
    return 0


def run_fetch(options: argparse.Namespace) -> int:
    from ilo import assets

    for name, path in assets.fetch_all().items():
        print(f"{name}: {path}")
    return 0


def run_reproduce(options: argparse.Namespace) -> int:
    try:
        from ilo import reproduce
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"`ilo reproduce` needs the notebook tools: pip install -e '.[notebooks]' ({missing})"
        ) from None

    named = {"device": options.device, "generator": options.generator, "images": options.images}
    overrides = {name: _absolute(value) for name, value in named.items() if value is not None}
    jobs = reproduce.plan(options.profile, only=options.only, overrides=overrides)
    if options.list:
        for job in jobs:
            print(job.name, json.dumps(job.parameters))
        return 0
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the notebooks too, as Ctrl-C does
    try:
        outcomes = reproduce.reproduce(jobs, workers=options.jobs, dask=options.dask)
    finally:
        signal.signal(signal.SIGTERM, before)
    print(reproduce.summary(outcomes))
    return 1 if any(outcome.error for outcome in outcomes) else 0


def run_verify(options: argparse.Namespace) -> int:
    from ilo import verify

    folders = options.folder or verify.FIGURES, options.reference or verify.REFERENCE
    if options.update:
        written = verify.update(*folders)
        print(f"{len(written)} files are the reference now, in {written[0].parent}")
        return 0
    comparisons = verify.verify(*folders)
    print(verify.report(comparisons))
    return 0 if all(comparison.ok for comparison in comparisons) else 1


def _absolute(value: str) -> str:
    """A file or folder by a path that holds in a notebook's own working directory; other words as they are."""
    path = Path(value).expanduser()
    return str(path.resolve()) if path.exists() else value


if __name__ == "__main__":
    sys.exit(main())
