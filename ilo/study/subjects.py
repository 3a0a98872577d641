"""The images that the experiments recover: photos, CelebA's, and the generator's own."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ilo.checks import check_count, check_kind, check_layer, check_number
from ilo.generators.base import Generator
from ilo.images import astronaut_face, read_folder
from ilo.rng import stream
from ilo.study.celeba import csgm_test_images


@dataclass(frozen=True)
class Subjects:
    """The images of an experiment. kinds: "photo", "CelebA" (CSGM's test images), "near range" or "in range"."""

    names: list[str]
    kinds: list[str]
    truth: Tensor  # (N, C, H, W) in [−1, 1], on the CPU

    def with_kinds(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows of `ilo.study.run` with a column `kind`."""
        return rows.assign(kind=rows["image"].map(dict(zip(self.names, self.kinds, strict=True))))


def choose_subjects(
    G: Generator,
    *,
    folder: str | Path = "",
    celeba: int = 0,
    near_range: int = 0,
    in_range: int = 1,
    rng: int = 1,
) -> Subjects:
    """Return the images to recover, at the generator's size, in the order of the arguments.

    Args:
        folder: your own photos, one face each; "": the astronaut that scikit-image ships.
        celeba: how many of CSGM's CelebA test images, where they are present (data/README.md); 0: none.
        near_range: faces that `near_range_faces` makes of the generator's.
        in_range: faces drawn by the generator itself.
        rng: seed of those two.

    Raises:
        ilo.assets.AssetError: CelebA images are asked for, but not here.
        ValueError: more of them than there are.
    """
    size = G.image_shape[-1]
    photos = read_folder(folder, size) if str(folder) else {"astronaut": astronaut_face(size)}
    names, kinds, parts = [*photos], ["photo"] * len(photos), [*photos.values()]
    if celeba:
        found = csgm_test_images(size)
        if not 0 < celeba <= len(found):
            raise ValueError(f"celeba must lie in 0 … {len(found)}, got {celeba}")
        names += [f"CelebA {i + 1}" for i in range(celeba)]
        kinds += ["CelebA"] * celeba
        parts.append(found[:celeba])
    if near_range:
        names += [f"near range {i + 1}" for i in range(near_range)]
        kinds += ["near range"] * near_range
        parts.append(near_range_faces(G, near_range, rng + 1))
    if in_range:
        names += [f"in range {i + 1}" for i in range(in_range)]
        kinds += ["in range"] * in_range
        parts.append(G(G.sample(in_range, rng, "truth")).cpu().float().clamp(-1, 1))
    return Subjects(names, kinds, torch.cat(parts))


@torch.no_grad()
def near_range_faces(
    G: Generator, n: int, rng: int, *, layer: int = 1, entries: int = 64, radius: float = 400.0
) -> Tensor:
    """Draw `n` images (n, C, H, W) just outside the generator's range, on the CPU: the theorem's own setting.

    The input of `layer` is a sample's plus a sparse deviation: `entries` of its features, drawn uniformly, move by
    ±radius/entries, so that the deviation has the l1 norm `radius`. For generators whose state has "features".
    """
    check_kind(G, Generator, "G")
    layer, radius = check_layer(layer, G.num_layers - 1), check_number(radius, "radius", 0)
    entries = check_count(entries, "entries")
    state = G.run(G.sample(n, rng, "truth"), 0, layer)
    features = state["features"].flatten(1).clone()  # (n, p)
    for i, row in enumerate(features):
        g = stream(rng, "deviation", i)
        where = torch.randperm(len(row), generator=g)[:entries]
        signs = 2.0 * torch.randint(2, (entries,), generator=g) - 1
        row[where.to(row.device)] += (radius / entries * signs).to(row)
    images = G({**state, "features": features.view_as(state["features"])}, layer)
    return images.cpu().float().clamp(-1, 1)
