"""``ilo reproduce``: the experiments' notebooks, into runs/."""

import argparse
import json
from pathlib import Path

DESCRIPTION = """\
Execute the notebooks of a profile (notebooks/profiles.yaml) and write all that they make below runs/: a folder for
every run, with the executed notebooks and report.json; in runs/figures the figures, the rows that drew them and their
provenance, of every notebook's last good run. `ilo verify` compares them with the committed figures/, and
runs/report/index.html shows all of it (`ilo report` writes it again).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(options: argparse.Namespace) -> int:
    overrides = _checked(options)
    try:
        from ilo import profiles

        jobs = profiles.plan(options.profile, only=options.only, overrides=overrides)
        if options.list:
            for job in jobs:
                print(job.name, json.dumps(job.parameters))
            return 0

        from ilo import report, reproduce  # torch, and what grids are computed with
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"`ilo reproduce` needs the notebook tools: pip install -e '.[notebooks]' ({missing})"
        ) from None
    done = reproduce.reproduce(jobs, workers=options.jobs, dask=options.dask)
    print(reproduce.summary(done))
    print(f"report: {report.write_report(done.folder.parent)}")
    return 1 if any(outcome.error for outcome in done.outcomes) else 0


def _checked(options: argparse.Namespace) -> dict[str, str]:
    """What the options set in the notebooks, looked at before minutes of work; files by paths that hold anywhere."""
    found = {}
    if options.device is not None or options.generator is not None:
        from ilo.generators import loading  # torch, which `--list` alone need not wait for

        if options.device is not None:
            loading.check_computes(options.device)
            found["device"] = options.device
        if options.generator is not None:
            found["generator"] = str(loading.check_name(options.generator))
    if options.dask not in (None, "local"):
        from ilo.study.cluster import check_scheduler

        check_scheduler(options.dask)
    if options.images is not None:
        from ilo.images import image_files

        folder = Path(options.images).expanduser().resolve()
        image_files(folder)
        found["images"] = str(folder)
    return found
