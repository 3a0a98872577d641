"""Grids of experiments: images × problems × methods × seeds become rows, kept as they are made.

    rows = study.run(images, [study.inpainting(0.1), study.gaussian(0.05)], {"ILO": my_ilo, "TV": my_tv}, G=G)

A cell is a problem, a seed, a method and a batch of images. A finished one is a file, named by a hash of all that
determines it: parameters, images, the generator's weights, the code of the method and of what it imports, versions.
So a grid that was killed resumes where it was; one that has grown computes what is new; and after an edit, only what
the edit may change is computed again.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ilo.checks import check_callable, check_count, check_kind, shown
from ilo.files import written_atomically
from ilo.generators.base import Generator
from ilo.images import check_images
from ilo.provenance import cells_folder
from ilo.solver.loop import is_quiet
from ilo.study import cells, cluster, store
from ilo.study.cells import Cell, Method, Record
from ilo.study.code import code_of
from ilo.study.fingerprint import fingerprint
from ilo.study.problems import Problem

KEYS = ["image", "task", "level", "noise", "method", "seed"]  # of these a row is the only one


class StudyError(RuntimeError):
    """Some cells failed; the others are in `rows`, and on disk."""

    def __init__(self, message: str, rows: pd.DataFrame):
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True)
class Grid:
    """What is to be computed, and what determines it.

    names: of the images, each its own. truth: (N, C, H, W) in [−1, 1], on the CPU.
    problems: what is measured (`ilo.study.problems`). An operator is drawn from the seed, the same for all images; an
        image's noise from the seed and its name, whatever other images there are and however they are batched.
    methods: label -> `Method`: a function of a module, or of a notebook, or a partial of one.
    G: the generator, on the device to compute on; None for methods without.
    seeds: of operators, noise and methods.
    batch: images recovered at a time.
    lpips: whether to measure it; it needs its network and about 20 ms per image.
    keep_images: keep what is recovered, in 8 bits, for `kept_images`.

    ValueError for images, names or numbers that do not fit.
    """

    names: Sequence[str]
    truth: Tensor
    problems: Sequence[Problem]
    methods: Mapping[str, Method]
    G: Generator | None
    seeds: Sequence[int] = (0,)
    batch: int = 16
    lpips: bool = True
    keep_images: bool = False

    def __post_init__(self):
        check_images(self.truth)
        if self.G is not None:
            check_kind(self.G, Generator, "G")
        for label, method in check_kind(self.methods, Mapping, "methods").items():
            check_callable(method, f"the method {label!r}")
        for problem in self.problems:
            check_kind(problem, Problem, "each of problems")
        check_count(self.batch, "batch")
        if len(self.names) != len(self.truth) or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"every image needs a name of its own, got {len(self.names)} names for {len(self.truth)} images"
            )
        shape = tuple(self.truth.shape[1:])
        if self.G is not None and shape != self.G.image_shape:
            raise ValueError(f"the generator makes images {self.G.image_shape}, but these are {shape}")
        if not (self.problems and self.methods and self.seeds):
            raise ValueError("a grid needs at least one problem, one method and one seed")

    def cells(self, device: str) -> Iterator[tuple[Cell, Tensor]]:
        """Yield every cell and its images. Cells that share an operator come one after the other."""
        shared = (fingerprint(self.G), bool(self.lpips), device, code_of("ilo.study.cells"))
        prints = {label: fingerprint(method) for label, method in self.methods.items()}
        chunks = [
            (tuple(self.names[at : at + self.batch]), x, fingerprint(x))
            for at, x in zip(range(0, len(self.names), self.batch), self.truth.split(self.batch), strict=True)
        ]
        for problem in self.problems:
            operator = fingerprint((problem.operator, float(problem.noise)))
            for seed in self.seeds:
                for names, x, content in chunks:
                    for label, method in self.methods.items():
                        modules = tuple(sorted({"ilo.study.cells", *_modules(method), *_modules(problem.operator)}))
                        key = fingerprint((shared, operator, int(seed), names, content, prints[label]))
                        options = (self.lpips, self.keep_images, code_of(*modules), modules, key)
                        yield Cell(problem, seed, label, method, names, *options), x

    def rows(self, finished: Sequence[Cell], bodies: Mapping[str, dict]) -> pd.DataFrame:
        """The rows of finished cells, by problem, method, seed and image; bodies: what each cell's file holds."""
        rows = []
        image_at = {name: i for i, name in enumerate(self.names)}
        methods: dict[str, int] = {}
        for cell in finished:
            problem = cell.problem
            at, seed_at = self.problems.index(problem), self.seeds.index(cell.seed)
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


def run(
    images: Mapping[str, Tensor] | tuple[Sequence[str], Tensor],
    problems: Sequence[Problem],
    methods: Mapping[str, Method],
    *,
    G: Generator | None,
    folder: str | Path | None = None,
    client: Any | None = None,
    progress: bool = True,
    **options,
) -> pd.DataFrame:
    """Recover every image under every problem and seed by every method; return one row each.

    Args:
        images: name -> (C, H, W) or (1, C, H, W), or names and (N, C, H, W); in [−1, 1]. Answers are clamped to that.
        problems, methods, G: as in `Grid`, and so are `options`: seeds, batch, lpips, keep_images.
        folder: where cells are kept; None: `ilo.provenance.cells_folder`. Several processes may share it.
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
    names, truth = _named(images)
    seeds = check_kind(options.get("seeds", Grid.seeds), (Sequence, range), "seeds")
    options["seeds"] = [check_count(seed, "each of seeds", least=0) for seed in seeds]
    check_kind(problems, Sequence, "problems")
    grid = Grid(names, truth, list(problems), methods, G, **options)
    folder = cells_folder() if folder is None else Path(folder)
    store.prepare(folder)
    client = cluster.client_from_environment() if client is None else client
    device = cluster.devices(client) if client is not None else ("cpu" if G is None else G.device.type)
    every = list(grid.cells(device))
    bodies = {cell.key: store.read(folder, cell.key, cell.keep_images) for cell, _ in every}
    todo = [(cell, x) for cell, x in every if bodies[cell.key] is None]
    failed: list[tuple[Cell, BaseException]] = []
    compute = partial(cluster.compute_all, client) if client is not None else partial(_here, folder)
    done = len(every) - len(todo)
    with tqdm(total=len(every), initial=done, desc="grid", unit="cell", disable=is_quiet(progress)) as bar:
        for cell, record in compute(todo, G):
            _keep(folder, cell, record)
            if isinstance(record, BaseException):
                failed.append((cell, record))
            else:
                bodies[cell.key] = store.read(folder, cell.key, cell.keep_images)
            bar.set_postfix_str(f"{cell.label}, {cell.problem.task} {cell.problem.level:g}", refresh=False)
            bar.update()
    rows = grid.rows([cell for cell, _ in every if bodies[cell.key] is not None], bodies)
    if failed:
        raise StudyError(_summary(failed, len(every), folder), rows)
    return rows


def _named(images: Mapping[str, Tensor] | tuple[Sequence[str], Tensor]) -> tuple[list[str], Tensor]:
    if isinstance(images, Mapping):
        for name, image in images.items():
            check_kind(image, Tensor, f"the image {name!r}")
        parts = [x if x.ndim == 4 else x[None] for x in images.values()]
        if len({x.shape for x in parts}) != 1 or len(parts[0]) != 1:
            raise ValueError(f"a grid needs one image a name, all of one shape, got {[tuple(x.shape) for x in parts]}")
        names, truth = list(images), torch.cat(parts)
    elif isinstance(images, tuple) and len(images) == 2:
        names, truth = list(images[0]), images[1]
    else:
        raise TypeError(f"images must be a mapping of names to images, or (names, images), got {shown(images)}")
    check_images(truth)
    return names, truth.detach().float().cpu()


def _modules(function: Any) -> list[str]:
    """Modules that a worker must have as this process has them; a notebook's functions travel as they are."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__module__", None) or "__main__"
    return [] if name == "__main__" else [name]


def _here(
    folder: Path, todo: Sequence[tuple[Cell, Tensor]], G: Generator | None
) -> Iterator[tuple[Cell, Record | Exception | None]]:
    """Compute in this process. Yields None for a cell that another process has finished meanwhile."""
    for cell, x in todo:
        if store.read(folder, cell.key, cell.keep_images) is not None:
            yield cell, None
            continue
        try:
            record = cells.compute(cell, x, G)
        except Exception as error:
            record = error
        yield cell, record


def _keep(folder: Path, cell: Cell, record: Record | BaseException | None) -> None:
    """Write what became of a cell: its files, or its error's traceback."""
    told = folder / f"{cell.key}.error.txt"
    if isinstance(record, BaseException):
        with written_atomically(told) as temporary:
            text = f"{cell}\n\n{''.join(traceback.format_exception(record))}"
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    if record is not None:
        store.write(folder, cell.key, record)
    told.unlink(missing_ok=True)


def _summary(failed: Sequence[tuple[Cell, BaseException]], total: int, folder: Path) -> str:
    lines = [f"{len(failed)} of {total} cells failed (tracebacks in {folder}/*.error.txt):"]
    lines += [f"  {cell}: {type(error).__name__}: {error} [{cell.key[:12]}]" for cell, error in failed[:20]]
    if len(failed) > 20:
        lines.append(f"  … and {len(failed) - 20} more")
    return "\n".join(lines)
