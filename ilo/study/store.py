"""Where finished cells are kept: a JSON file each, checked by a sha256, and its images beside it."""

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ilo.files import sweep, written_atomically
from ilo.provenance import cells_folder
from ilo.study.cells import Record

STEMS = r"[0-9a-f]{64}(?:\.error)?"  # of all files that a grid writes: a cell's key, or its error's


def prepare(folder: Path) -> None:
    """Make the folder, see that it can be written, and sweep what killed runs left half-written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        sweep(folder, STEMS)
    except OSError as error:
        raise OSError(f"the grid keeps its cells in {folder}, which cannot be written: {error}") from error


def write(folder: Path, key: str, record: Record) -> None:
    """Put a finished cell on disk, each file in one step; the images first, whose sha256 the other holds."""
    pixels = None if record.images is None else _packed(record.images)
    if pixels is not None:
        with written_atomically(folder / f"{key}.npz") as temporary:
            temporary.write_bytes(pixels)
    body = {**record.body, "images": None if pixels is None else hashlib.sha256(pixels).hexdigest()}
    with written_atomically(folder / f"{key}.json") as temporary:
        temporary.write_text(json.dumps({"sha256": _digest(body), "body": body}), encoding="utf-8")


def read(folder: Path, key: str, images: bool = False) -> dict[str, Any] | None:
    """Return a finished cell's contents, or None where there is none that is whole, or none with `images`."""
    try:
        document = json.loads((folder / f"{key}.json").read_bytes())
        body = document["body"]
        if _digest(body) != document["sha256"]:
            return None
        if images and hashlib.sha256((folder / f"{key}.npz").read_bytes()).hexdigest() != body["images"]:
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return body


def read_images(folder: Path, key: str) -> dict[str, Tensor]:
    """The images that a cell kept: method ("" if it answered with images alone) -> (B, C, H, W) in [−1, 1], 8 bits."""
    body = read(folder, key, images=True)
    if body is None:
        raise ValueError(f"no images of the cell {key[:12]} in {folder}: run the grid with keep_images=True")
    with np.load(folder / f"{key}.npz", allow_pickle=False) as file:
        return {m: torch.from_numpy(file[str(i)]).float() / 127.5 - 1 for i, m in enumerate(body["methods"])}


def kept_images(rows: pd.DataFrame, folder: str | Path | None = None) -> Tensor:
    """Return what was recovered in each of `rows` (from `run` with keep_images=True), (len(rows), C, H, W) in [−1, 1]
    and in their order; rounded to 8 bits. folder: as in `run`."""
    folder = cells_folder() if folder is None else Path(folder)
    found, opened = [], {}
    for row in rows.itertuples():
        if row.cell not in opened:
            body = read(folder, row.cell, images=True)
            opened[row.cell] = (body, read_images(folder, row.cell))
        body, images = opened[row.cell]
        method = row.method if row.method in images else ""
        order = [r["image"] for r in body["rows"] if r["method"] == method]
        found.append(images[method][order.index(row.image)])
    return torch.stack(found)


def tried_settings(rows: pd.DataFrame, folder: str | Path | None = None) -> pd.DataFrame:
    """Return all settings that were `Tried` by the methods of `rows` (from `run`): one row per row and setting, with
    the row's image, task, level and noise, the setting in its own words, and its psnr. folder: as in `run`."""
    folder = cells_folder() if folder is None else Path(folder)
    table = []
    for (key, method), part in rows.groupby(["cell", "method"], sort=False):
        body = read(folder, key)
        name = method if method in body["tried"] else ""
        order = [r["image"] for r in body["rows"] if r["method"] == name]
        for setting in body["tried"].get(name, ()):
            psnr = dict(zip(order, setting["psnr"], strict=True))
            for row in part[["image", "task", "level", "noise"]].to_dict("records"):
                table.append({**row, **setting, "psnr": psnr[row["image"]]})
    return pd.DataFrame(table)


def _digest(body: Any) -> str:
    """The sha256 of JSON values, by their one text with sorted keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _packed(images: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{str(i): x for i, x in enumerate(images.values())})
    return buffer.getvalue()
