"""Holes: regions of the image that no measurement sees, and what is held out where there are some.

What is held out must look like what is missing. Pixels held out one by one have their neighbours to be told from; the
middle of a hole has none. So beside holes blocks are held out, as wide as the holes are deep on both sides.
"""

import math

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ilo.operators import LinearOperator
from ilo.rng import normal, stream

PROBES = 8
UNSEEN = 0.01  # of the largest sensitivity: what is less is not seen
UNSEEN_COLOUR = 1e-3  # likewise, of the colour that is seen best
DEEP = 2.0  # times the mean distance that pixels measured at random would leave: what is more is a hole
FEWEST, MOST = 4, 16  # blocks to hold out
INSIDE = 0.5  # of what a measurement measures: with more in a block it is held out


@torch.no_grad()
def sensitivity(A: LinearOperator) -> Tensor:
    """(H, W), at least 0: how strongly each pixel is measured, the sum over its channels of the diagonal of AᵀA.

    The mean of (Aᵀu)² over random signs u: without noise where every measurement is of one number of the image, as in
    inpainting, and 0 without noise where nothing is measured, whatever the operator; else right to about 20 %.
    """
    u = normal(0, PROBES, A.shape_out, purpose="probe", dtype=A.dtype, device=A.device).sign()
    return A.adjoint(u).square().mean(0).sum(0)


def unseen(A: LinearOperator) -> Tensor:
    """(H, W), bool, on the CPU: the pixels that no measurement sees."""
    seen = sensitivity(A).cpu()
    return seen < UNSEEN * seen.max()


def block_side(hidden: Tensor, most: float) -> int:
    """Side of the blocks that look like the holes of `hidden` (H, W), in pixels; 0 where there are none.

    Twice the mean distance of hidden pixels to the nearest seen one. Pixels measured at random at a density p leave a
    mean distance of 1/(2√p): up to `DEEP` times that there are gaps but no holes.

    most: the area of a block, at most.
    """
    density = 1 - hidden.double().mean().item()
    if density in (0, 1):
        return 0
    depth = distance_transform_edt(hidden.numpy())[hidden.numpy()].mean()
    if depth <= DEEP / (2 * math.sqrt(density)):
        return 0
    return min(round(2 * depth), math.floor(math.sqrt(most)))


def blocks(hidden: Tensor, fraction: float) -> Tensor | None:
    """(H, W), integers: 0, and 1, 2, … in blocks of seen pixels beside holes, a `fraction` of the seen in all, or less.

    None where there are no holes, or no room for a block of at least 2 pixels a side. Blocks lie where they are wholly
    seen and do not touch, those within their own width of a hole before any other, else in random order, always the
    same.
    """
    seen = int((~hidden).sum())
    side = block_side(hidden, fraction * seen / FEWEST)
    if side < 2:
        return None
    away = torch.from_numpy(distance_transform_edt(~hidden.numpy()))
    cells = (~hidden).double().unfold(0, side, 1).unfold(1, side, 1).flatten(2).amin(2)  # wholly seen: 1
    nearest = away.unfold(0, side, 1).unfold(1, side, 1).flatten(2).amin(2)
    places = (cells == 1).nonzero()
    order = torch.randperm(len(places), generator=stream(0, "held out"))
    far = nearest[places[order, 0], places[order, 1]] > side
    places = places[order[np.argsort(far.numpy(), kind="stable")]]
    found = torch.zeros(hidden.shape, dtype=torch.long)
    count = 0
    for row, column in places.tolist():
        around = found[max(0, row - 1) : row + side + 1, max(0, column - 1) : column + side + 1]
        if count < MOST and (count + 1) * side**2 <= fraction * seen and not around.any():
            count += 1
            found[row : row + side, column : column + side] = count
    return found if count >= FEWEST else None


@torch.no_grad()
def blocks_of(A: LinearOperator, fraction: float) -> Tensor | None:
    """(M,), on the CPU: of every measurement the number of the block that it lies in, else 0; None: see `blocks`.

    It lies in a block if that is where more than half of what it measures is: half of the squares of its weights,
    estimated for weights that are many by random signs. A unit of measurement lies in the block that any of its entries
    lies in. None also where a block has no measurement, as of operators that measure the whole image at once.
    """
    found = blocks(unseen(A), fraction)
    if found is None:
        return None
    x = normal(0, PROBES, A.shape_in, purpose="probe", dtype=A.dtype, device=A.device).sign()
    whole = A(x).flatten(1).square().mean(0)  # (M,)
    units = A.units()
    inside = torch.zeros(len(units), dtype=torch.long)
    for number in range(1, int(found.max()) + 1):
        part = A(x * (found == number).to(x)).flatten(1).square().mean(0)
        mine = (part > INSIDE * whole).cpu()
        if not mine.any():
            return None
        inside[torch.isin(units, units[mine])] = number
    return inside if (inside == 0).any() else None


@torch.no_grad()
def sees_all_colours(A: LinearOperator) -> bool:
    """Whether an image can change in no colour throughout without changing its measurements: a grey photo's can.

    By the products of what A makes of random images of one channel each, summed over the measurements: a matrix whose
    least eigenvalue is 0, to rounding and chance, for a colour that no measurement sees.
    """
    channels, *size = A.shape_in
    probes = normal(0, PROBES, (1, *size), purpose="probe", dtype=A.dtype, device=A.device)
    seen = torch.stack([A(probes * one.view(1, -1, 1, 1)).flatten() for one in torch.eye(channels).to(probes)])
    values = torch.linalg.eigvalsh((seen @ seen.T).double())
    return bool(values[0] > UNSEEN_COLOUR * values[-1])
