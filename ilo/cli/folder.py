"""``ilo recover FOLDER``: every photo of a folder, one after the other, and a table of what became of each."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ilo.assets import sha256_of
from ilo.cli.results import asked_of, check_folder
from ilo.files import written_atomically
from ilo.images import image_files

TABLE = "photos.csv"
COLUMNS = ("photo", "folder", "status", "psnr", "ssim", "lpips", "crop", "face", "error")
BESIDE = ("photo", "out", "quiet")  # options that change nothing of a result; the photo counts by what it holds


def recover_folder(options: argparse.Namespace, one: Callable[[argparse.Namespace], object]) -> int:
    """Call `one` for every photo of the folder, with a folder of its own to write to; return the exit code.

    A photo that was recovered before, with the same options and unchanged, is not recovered again, so that what was
    killed goes on. A photo that cannot be recovered has its reason in the table, and the others go on: the code is 1.
    """
    photos = image_files(options.photo)
    out = options.out or options.photo.resolve().with_name(f"{options.photo.resolve().name}-recovered")
    check_folder(out)
    stems = [photo.stem for photo in photos]
    rows: list[dict[str, Any]] = []
    for number, photo in enumerate(photos, 1):
        name = photo.stem if stems.count(photo.stem) == 1 else photo.name
        mine = argparse.Namespace(**{**vars(options), "photo": photo, "out": out / name})
        row: dict[str, Any] = {"photo": photo.name, "folder": name}
        print(f"{number} of {len(photos)}: {photo}", flush=True)
        try:
            if _is_done(mine):
                print("recovered before")
            else:
                one(mine)
            report = json.loads((mine.out / "report.json").read_text(encoding="utf-8"))
            row |= {column: report.get(column) for column in COLUMNS[2:-1]}
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            print(f"ilo: {error}", file=sys.stderr, flush=True)
            row |= {"status": "failed", "error": str(error)}
        rows.append(row)
        with written_atomically(out / TABLE) as temporary:
            pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(temporary, index=False)
    failed = [row["photo"] for row in rows if row["status"] == "failed"]
    print(f"{len(rows) - len(failed)} of {len(rows)} photos recovered; wrote to {out}: {TABLE} and a folder for each")
    if failed:
        print(f"ilo: not recovered: {', '.join(failed)}; {out / TABLE} says why", file=sys.stderr)
    return 1 if failed else 0


def _is_done(options: argparse.Namespace) -> bool:
    """Whether the folder holds what these options would make of this photo."""
    try:
        report = json.loads((Path(options.out) / "report.json").read_text(encoding="utf-8"))
        then = report["options"]
        now = json.loads(json.dumps(asked_of(options), default=str))
        same = all(now.get(key) == then.get(key) for key in (now.keys() | then.keys()) - set(BESIDE))
        return same and report["photo_sha256"] == sha256_of(options.photo)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
