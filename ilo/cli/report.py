"""``ilo report``: what ran, as a page to open."""

import argparse

DESCRIPTION = """\
Write runs/report/index.html, as `ilo reproduce` does at its end: each figure of the last runs beside the committed one,
what `ilo verify` says, and of every notebook its parameters, time, versions and executed copy. It opens from the disk,
without a server.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace) -> int:
    try:
        from ilo import report
    except ModuleNotFoundError as missing:
        raise ValueError(f"`ilo report` needs the notebook tools: pip install -e '.[notebooks]' ({missing})") from None

    print(report.write_report())
    return 0
