"""Grids of experiments: images × problems × methods × seeds become rows, kept as they are made.

    rows = study.run(images, [study.inpainting(0.1), study.gaussian(0.05)], {"ILO": my_ilo, "TV": my_tv}, G=G)

A cell is a problem, a seed, a method and a batch of images. A finished one is a file, named by a hash of all that
determines it: parameters, images, the generator's weights, the code of the method and of what it imports, versions.
So a grid that was killed resumes where it was; one that has grown computes what is new; and after an edit, only what
the edit may change is computed again.
"""

import os
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ilo.files import written_atomically
from ilo.generators.base import Generator
from ilo.images import check_images
from ilo.provenance import cells_folder
from ilo.study import cells, cluster
from ilo.study.cells import Answer, Cell, Method
from ilo.study.fingerprint import code, fingerprint
from ilo.study.problems import (
    REGIONS,
    Problem,
    circulant,
    colourisation,
    deblurring,
    denoising,
    gaussian,
    inpainting,
    region,
    superres,
)

__all__ = [
    "CELLS",
    "REGIONS",
    "Answer",
    "Method",
    "Problem",
    "StudyError",
    "circulant",
    "colourisation",
    "deblurring",
    "denoising",
    "gaussian",
    "inpainting",
    "kept_images",
    "region",
    "run",
    "superres",
]

CELLS = cells_folder()
KEYS = ["image", "task", "level", "noise", "method", "seed"]  # of these a row is the only one
ABANDONED_AFTER = 24 * 3600  # seconds after which a temporary file is taken for a killed run's


class StudyError(RuntimeError):
    """Some cells failed; the others are in `rows`, and on disk."""

    def __init__(self, message: str, rows: pd.DataFrame):
        super().__init__(message)
        self.rows = rows


def run(
    images: Mapping[str, Tensor] | tuple[Sequence[str], Tensor],
    problems: Sequence[Problem],
    methods: Mapping[str, Method],
    *,
    G: Generator | None,
    seeds: Sequence[int] = (0,),
    folder: str | Path = CELLS,
    batch: int = 16,
    lpips: bool = True,
    keep_images: bool = False,
    client: Any | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Recover every image under every problem and seed by every method; return one row each.

    Args:
        images: name -> (C, H, W) or (1, C, H, W), or names and (N, C, H, W); in [−1, 1].
        problems: what is measured (`ilo.study.problems`). An operator is drawn from the seed, the same for all images;
            an image's noise from the seed and its name, whatever other images there are and however they are batched.
        methods: label -> a function of a module, called with A, y and those of the keywords G, rng (the seed), noise
            and noise_std (both the problem's) and progress (False) that it takes. It returns images (B, C, H, W), a
            `Result`, an `Answer`, or several of these by name, when one run answers for several methods (ILO's first
            round is CSGM): then the names count and the label does not. Images are clamped to [−1, 1].
        G: the generator, on the device to compute on.
        seeds: of operators, noise and methods.
        folder: where cells are kept. Several processes may share it.
        batch: images recovered at a time.
        lpips: whether to measure it; it needs its network and about 20 ms an image.
        keep_images: keep what is recovered, in 8 bits, for `kept_images`.
        client: a dask.distributed.Client whose workers compute the cells, on their GPUs if they have any; None: that
            of the scheduler that the environment variable ILO_DASK names, or this process. Files are written here.
        progress: show a progress bar (unless the environment sets TQDM_DISABLE).

    Returns:
        Rows by problem, method, seed and image, in the order given: image, task, level, noise, method, seed, mse, psnr
        (dB), ssim, lpips, seconds (wall time of the batch over its images, when it was computed), further columns of
        `Answer`, and cell (the file they are from). All but `seconds` is the same however often a run was killed, and
        wherever it is computed, as far as processors and numbers of threads that differ round alike.

    Raises:
        ValueError: images, names or methods that do not fit; two methods' rows of one name.
        OSError: the folder cannot be written.
        StudyError: cells failed, after the others have finished. The message names them; the tracebacks are in the
            folder, in KEY.error.txt.
    """
    names, truth = _named(images, G)
    seeds, folder = list(seeds), Path(folder)
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if not (problems and methods and seeds):
        raise ValueError("a grid needs at least one problem, one method and one seed")
    _check_folder(folder)
    client = cluster.client_from_environment() if client is None else client
    device = cluster.devices(client) if client is not None else ("cpu" if G is None else G.device.type)
    grid = list(_grid(problems, methods, seeds, names, truth, G, batch, lpips, keep_images, device))
    bodies, todo = {}, []
    for cell, x in grid:
        found = cells.read(folder, cell.key, keep_images)
        if found is None:
            todo.append((cell, x))
        else:
            bodies[cell.key] = found
    failed: list[tuple[Cell, BaseException]] = []
    compute = partial(cluster.compute_all, client) if client is not None else partial(_here, folder)
    with tqdm(total=len(grid), initial=len(bodies), desc="grid", unit="cell", disable=_quiet(progress)) as bar:
        for cell, record in compute(todo, G):
            if isinstance(record, BaseException):
                failed.append((cell, record))
                with written_atomically(folder / f"{cell.key}.error.txt") as temporary:
                    temporary.write_text(f"{cell}\n\n{''.join(traceback.format_exception(record))}")
            else:
                if record is not None:
                    cells.write(folder, cell.key, record)
                (folder / f"{cell.key}.error.txt").unlink(missing_ok=True)
                bodies[cell.key] = cells.read(folder, cell.key, keep_images)
            bar.set_postfix_str(f"{cell.label}, {cell.problem.task} {cell.problem.level:g}", refresh=False)
            bar.update()
    rows = _rows([cell for cell, _ in grid if cell.key in bodies], bodies, names, problems, seeds)
    if failed:
        raise StudyError(_summary(failed, len(grid), folder), rows)
    return rows


def kept_images(rows: pd.DataFrame, folder: str | Path = CELLS) -> Tensor:
    """Return what was recovered in each of `rows` (from `run` with keep_images=True), (len(rows), C, H, W) in [−1, 1]
    and in their order; rounded to 8 bits."""
    found, opened = [], {}
    for row in rows.itertuples():
        if row.cell not in opened:
            body = cells.read(Path(folder), row.cell, images=True)
            opened[row.cell] = (body, cells.read_images(Path(folder), row.cell))
        body, images = opened[row.cell]
        method = row.method if row.method in images else ""
        order = [r["image"] for r in body["rows"] if r["method"] == method]
        found.append(images[method][order.index(row.image)])
    return torch.stack(found)


def _named(
    images: Mapping[str, Tensor] | tuple[Sequence[str], Tensor], G: Generator | None
) -> tuple[list[str], Tensor]:
    if isinstance(images, Mapping):
        parts = [x if x.ndim == 4 else x[None] for x in images.values()]
        if len({x.shape for x in parts}) != 1 or len(parts[0]) != 1:
            raise ValueError(f"a grid needs one image a name, all of one shape, got {[tuple(x.shape) for x in parts]}")
        names, truth = list(images), torch.cat(parts)
    else:
        names, truth = list(images[0]), images[1]
    check_images(truth)
    if len(names) != len(truth) or len(set(names)) != len(names):
        raise ValueError(f"every image needs a name of its own, got {len(names)} names for {len(truth)} images")
    if G is not None and tuple(truth.shape[1:]) != G.image_shape:
        raise ValueError(f"the generator makes images {G.image_shape}, but these are {tuple(truth.shape[1:])}")
    return names, truth.detach().float().cpu()


def _grid(
    problems, methods, seeds, names, truth, G, batch, lpips, keep_images, device
) -> Iterator[tuple[Cell, Tensor]]:
    """Yield every cell and its images. Cells that share an operator come one after the other."""
    shared = (fingerprint(G), bool(lpips), device, code("ilo.study.cells"))
    prints = {label: fingerprint(method) for label, method in methods.items()}
    chunks = []
    for start in range(0, len(names), batch):
        part, x = tuple(names[start : start + batch]), truth[start : start + batch]
        chunks.append((part, x, fingerprint(x)))
    for problem in problems:
        operator = fingerprint((problem.operator, float(problem.noise)))
        for seed in seeds:
            for part, x, content in chunks:
                for label, method in methods.items():
                    modules = tuple(sorted({"ilo.study.cells", *_modules(method), *_modules(problem.operator)}))
                    key = fingerprint((shared, operator, int(seed), part, content, prints[label]))
                    yield Cell(problem, seed, label, method, part, lpips, keep_images, code(*modules), modules, key), x


def _modules(function: Any) -> list[str]:
    """Modules that a worker must have as this process has them; a notebook's functions travel as they are."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__module__", None) or "__main__"
    return [] if name == "__main__" else [name]


def _here(folder: Path, todo: Sequence[tuple[Cell, Tensor]], G: Generator | None) -> Iterator[tuple[Cell, Any]]:
    """Compute in this process. Yields None for a cell that another process has finished meanwhile."""
    for cell, x in todo:
        if cells.read(folder, cell.key, cell.keep_images) is not None:
            yield cell, None
            continue
        try:
            record = cells.compute(cell, x, G)
        except Exception as error:
            record = error
        yield cell, record


def _rows(finished: Sequence[Cell], bodies: Mapping[str, dict], names: list[str], problems, seeds) -> pd.DataFrame:
    rows = []
    image_at = {name: i for i, name in enumerate(names)}
    methods: dict[str, int] = {}
    for cell in finished:
        problem = cell.problem
        at, seed_at = problems.index(problem), seeds.index(cell.seed)
        for row in bodies[cell.key]["rows"]:
            method = row["method"] or cell.label
            head = {"image": row["image"], "task": problem.task, "level": problem.level, "noise": problem.noise}
            measured = {k: v for k, v in row.items() if k not in ("image", "method")}
            place = (at, methods.setdefault(method, len(methods)), seed_at, image_at[row["image"]])
            rows.append((place, {**head, "method": method, "seed": cell.seed, **measured, "cell": cell.key}))
    table = pd.DataFrame([row for _, row in sorted(rows, key=lambda pair: pair[0])])
    if len(table):
        table = table[[*(c for c in table if c != "cell"), "cell"]]
        twice = table[table.duplicated(KEYS)]
        if len(twice):
            clash = twice[KEYS].iloc[0].to_dict()
            raise ValueError(f"two methods, or two problems, make rows of the same name: {clash}")
    return table


def _summary(failed: Sequence[tuple[Cell, BaseException]], total: int, folder: Path) -> str:
    lines = [f"{len(failed)} of {total} cells failed (tracebacks in {folder}/*.error.txt):"]
    lines += [f"  {cell}: {type(error).__name__}: {error} [{cell.key[:12]}]" for cell, error in failed[:20]]
    if len(failed) > 20:
        lines.append(f"  … and {len(failed) - 20} more")
    return "\n".join(lines)


def _check_folder(folder: Path) -> None:
    """Make the folder, see that it can be written, and sweep what killed runs left half-written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in folder.glob(".*-*"):
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass  # another process swept first
    except OSError as error:
        raise OSError(f"the grid keeps its cells in {folder}, which cannot be written: {error}") from error


def _quiet(progress: bool) -> bool:
    # tqdm's notebook bar does not look at the variable itself
    return not progress or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
