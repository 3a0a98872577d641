"""What ``ilo recover`` leaves in its folder."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
from torch import Tensor

from ilo import metrics
from ilo.assets import sha256_of
from ilo.cli.cropping import Place, pasted
from ilo.cli.measuring import Measured
from ilo.files import written_atomically
from ilo.images import write_image
from ilo.solver.result import AutoResult, Result

SHOWN_AS = {  # the names of `ilo.study.METHODS`
    "auto": "ILO auto",
    "paper": "ILO",
    "whitened": "ILO (whitened)",
    "release": "ILO (release)",
    "csgm": "CSGM",
}
NAMES = (
    "recovered.png", "comparison.png", "result.safetensors", "sharp.png", "spread.png", "tries.csv", "pasted.png",
    "report.json",
)  # fmt: skip


def folder_for(options: argparse.Namespace, names: Sequence[str] = NAMES) -> Path:
    """The folder for the results, which need not be there yet: it is made when there is something to put in.

    Args:
        names: of the files and folders that may be written.

    Raises:
        ValueError: it holds what was recovered of another photo and was not named by --out, or something by one of
            `names` that `ilo recover` did not write, or of which it wrote other names too.
        OSError: it cannot be written.
    """
    out = options.out or options.photo.with_name(f"{options.photo.stem}-recovered")
    check_folder(out)
    earlier, own = _earlier(out, names)
    if others := [name for name in names if os.path.lexists(out / name) and name not in own]:
        raise ValueError(
            f"{out} holds {', '.join(others)}, not written by an `ilo recover` of this kind: move it, or name a folder "
            "by --out"
        )
    if earlier is not None and earlier.name != options.photo.name:
        if options.out is None:
            raise ValueError(f"{out} holds what was recovered of {earlier}: name another folder by --out")
        print(f"ilo: {out} holds what was recovered of {earlier}, which is replaced", file=sys.stderr)
    return out


def check_folder(out: Path) -> None:
    """OSError unless the folder `out` can be made or written to."""
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest} is a file, so the results cannot go to {out}: name a folder by --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"the results cannot be written to {out}: name a folder of yours by --out")


def asked_of(options: argparse.Namespace) -> dict[str, Any]:
    """All options as they were given or settled."""
    return {name: value for name, value in vars(options).items() if name != "run"}


def _earlier(out: Path, names: Sequence[str]) -> tuple[Path | None, set[str]]:
    """The photo that the results in a folder are of, and their names; None and no name where they are none of `names`.

    A photo's results and a film's have different names: neither takes the place of the other's.
    """
    try:
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        photo, own = Path(report["photo"]), set(report.get("files", NAMES))  # reports had no files once
    except (OSError, ValueError, KeyError, TypeError):
        return None, set()
    return (photo, own) if own <= set(names) else (None, set())


@contextmanager
def placed(out: Path, names: Sequence[str], rescue: Callable[[Path], str]) -> Iterator[Path]:
    """Give a folder to write in; on leaving without an error what is in it takes its place in `out`.

    Of an earlier recovery's files and folders, by `names`, none is left. With an error before that `out` is as it was.

    Args:
        rescue: writes what was found, no more, to another folder, and returns words that say what is where. Called
            where `out` cannot be written, since what was found took minutes.

    Raises:
        OSError: `out` cannot be written; it says where what was found is instead.
    """
    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".writing-", ignore_cleanup_errors=True) as name:
            aside, gone = Path(name) / "new", Path(name) / "gone"
            aside.mkdir()
            gone.mkdir()
            yield aside
            for name in names:
                written = (aside / name).exists()
                if os.path.lexists(out / name) and not (written and (aside / name).is_file()):
                    os.replace(out / name, gone / name)  # a folder cannot take the place of another that is not empty
                if written:
                    os.replace(aside / name, out / name)
    except BaseException as error:
        if made:
            with suppress(OSError):
                out.rmdir()
        if isinstance(error, OSError):
            raise OSError(f"the results could not be written to {out}: {error}. {rescued(rescue)}") from error
        raise


def rescued(rescue: Callable[[Path], str]) -> str:
    """Save what was found wherever there is room; say where. `rescue`: as of `placed`."""
    for folder in (tempfile.gettempdir(), Path.cwd(), Path.home()):
        with suppress(OSError):
            path = Path(tempfile.mkdtemp(dir=folder, prefix="ilo-result-"))
            try:
                return f"What was found is in {rescue(path)}"
            except OSError:
                shutil.rmtree(path, ignore_errors=True)
                raise
    return "There was no room for the result elsewhere: make room, and recover again"


def write_report(
    folder: Path, options: argparse.Namespace, found: Mapping[str, Any], names: Sequence[str]
) -> list[str]:
    """Write report.json: all options, what was found, and the `names` of what else was written; return all names."""
    asked, files = asked_of(options), [*names, "report.json"]
    beside = {"photo_sha256": sha256_of(options.photo), "files": files}
    # some options and settings that were found share names
    report = {**asked, **found, **beside, "options": asked}
    with written_atomically(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
    return files


def write_results(out: Path, options: argparse.Namespace, result: Result, seen: Measured, place: Place) -> list[str]:
    """Write images, result and report of the one problem, as `placed` does; say its scores; return the files' names."""

    def rescue(folder: Path) -> str:
        return f"{result.save(folder / 'result.safetensors')}: ilo.load_result reads it"

    with placed(out, NAMES, rescue) as aside:
        return _write(aside, options, result, seen, place)


def _write(out: Path, options: argparse.Namespace, result: Result, seen: Measured, place: Place) -> list[str]:
    images = result.images.cpu().clamp(-1, 1)  # a StyleGAN2's are not bounded; the saved result keeps them as they are
    result.save(out / "result.safetensors")
    write_image(out / "recovered.png", images[0])
    columns = {"Measurements": seen.A.cpu().picture(seen.y.cpu()), SHOWN_AS[options.rounds]: images}
    written = ["recovered.png", "comparison.png", "result.safetensors"]
    if options.rounds == "auto":
        columns |= _write_what_auto_adds(out, result)
        written += ["sharp.png", "spread.png", "tries.csv"]
    if (whole := pasted(options, place, images)) is not None:
        write_image(out / "pasted.png", whole)
        written.append("pasted.png")
    scores = {}
    if seen.truth is not None:
        columns = {"Truth": seen.truth, **columns}
        scores = metrics.evaluate(images, seen.truth).iloc[0].to_dict()
        print("PSNR {psnr:.2f} dB, SSIM {ssim:.3f}, LPIPS {lpips:.3f}".format(**scores))
    _write_comparison(out / "comparison.png", columns)
    found = {"status": result.status[0], **result.parameters, "objective": float(result.objective[0])}
    if options.rounds == "auto":
        found |= _believed(result)
    return write_report(out, options, {**asdict(place), **found, **scores}, written)


def _believed(result: AutoResult) -> dict[str, Any]:
    """Say what to believe of the result; return it for the report, in numbers (null: not known) and in words."""
    summary = result.summary()
    print(summary)
    numbers = {name: None if value != value else value for name, value in asdict(summary).items()}
    return {"summary": numbers, "in_words": str(summary).splitlines()}


def _write_what_auto_adds(out: Path, result: AutoResult) -> dict[str, Tensor]:
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
