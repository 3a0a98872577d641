"""Faces in photos: where they are, the square that a generator's training set would have cut out, and putting it back.

Found by the cascade of local binary patterns that scikit-image ships (Viola and Jones 2001; Liao et al. 2007), so that
nothing has to be downloaded. It sees upright faces that look at the camera. How a training set was framed is not looked
up but measured, by the same cascade on the generator's own images.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ilo.checks import check_kind
from ilo.generators.base import Generator
from ilo.generators.drawn import drawn_images, kept
from ilo.images import Box, check_images

SMALLEST = 24  # pixels a side of the cascade's window
LONGEST, SHORTEST = 800, 128  # pixels that a photo's longer side is brought to: time is proportional to its square
FEATHER = 0.12  # of the square's side: how wide the seam is
ENOUGH, MOST, BATCH = 16, 128, 8  # faces that a framing is the median of, the images drawn for that, and at a time


@dataclass(frozen=True)
class Framing:
    """Where the face is in a generator's images, in sides of the image: the width of its box, and the box's centre."""

    width: float
    x: float
    y: float


def find_faces(image: Tensor) -> list[Box]:
    """Return the boxes (left, top, right, bottom) of the faces in one image, in its pixels, the largest first.

    A box is a square from the brows to the chin. Boxes whose centre lies in a larger one are left out: the cascade
    finds eyes and mouths too. So are those that few windows of the cascade agree on, or that are not there in the
    mirror, unless all are so: seams and reflections look like faces. Of 805 portraits of 128 pixels it finds one face
    in 799, none in 6.

    Args:
        image: (1, 3, H, W) in [−1, 1]; faces at least 24 pixels wide, and 3 % of the longer side.
    """
    check_images(image, "image")
    if len(image) != 1 or image.shape[1] not in (1, 3):
        raise ValueError(f"faces are looked for in one image of 1 or 3 channels, got shape {tuple(image.shape)}")
    colours = (127.5 * (image[0].detach().cpu().float() + 1)).round().clamp(0, 255).byte().expand(3, -1, -1)
    height, width = colours.shape[1:]
    scale = min(max(1.0, SHORTEST / max(height, width)), LONGEST / max(height, width))
    size = tuple(max(1, round(n * scale)) for n in (width, height))
    if min(size) < SMALLEST:
        return []
    resized = np.asarray(Image.fromarray(colours.permute(1, 2, 0).contiguous().numpy()).resize(size, Image.BICUBIC))
    mirrored = [
        (size[0] - right, top, size[0] - left, bottom) for left, top, right, bottom in _seen(resized[:, ::-1], 8)
    ]
    sure = [box for box in _seen(resized, 8) if any(_holds(box, other) and _holds(other, box) for other in mirrored)]
    return [tuple(round(n / scale) for n in box) for box in sure or _seen(resized, 4)]


def _seen(levels: np.ndarray, votes: int) -> list[Box]:
    """Boxes that so many windows of the cascade agree on, the largest first, none inside another. levels: (H, W, 3)."""
    found = _cascade().detect_multi_scale(  # of colours, made grey without rounding: of 8-bit greys it sees less
        img=np.ascontiguousarray(levels),
        scale_factor=1.1,
        step_ratio=1.3,
        min_size=(SMALLEST, SMALLEST),
        max_size=levels.shape[:2],
        min_neighbor_number=votes,
    )
    boxes: list[Box] = []
    for box in sorted(((d["c"], d["r"], d["c"] + d["width"], d["r"] + d["height"]) for d in found), key=_by_size):
        if not any(_holds(larger, box) for larger in boxes):
            boxes.append(box)
    return boxes


def framing_of(G: Generator) -> Framing:
    """Measure, once, where the faces are that `G` makes: the median over some of its images in which one is found.

    Raises:
        ValueError: faces are found in fewer than 8 of 128 images: it makes something else.
    """
    check_kind(G, Generator, "G")
    return kept(G, "framing", (), lambda: _measured(G), lambda _: 3)


def _measured(G: Generator) -> Framing:
    size = G.image_shape[-1]
    found = []
    for images in drawn_images(G, MOST, 0, "prior", BATCH):
        for image in images.clamp(-1, 1).split(1):
            boxes = find_faces(image)
            if len(boxes) == 1:
                left, top, right, bottom = boxes[0]
                found.append([right - left, (left + right) / 2, (top + bottom) / 2])
        if len(found) >= ENOUGH:
            break
    if len(found) < ENOUGH // 2:
        raise ValueError(
            f"{G.name} makes no faces that could say how it frames them ({len(found)} found in {MOST} of its images): "
            "give the crop as LEFT,TOP,RIGHT,BOTTOM"
        )
    return Framing(*(float(n) / size for n in np.median(found, axis=0)))


def crop_about(face: Box, framing: Framing, width: int, height: int) -> Box:
    """Return the square (left, top, right, bottom) about a face in which it lies as the framing has it.

    Near the border of the photo, of `width` × `height` pixels, the square is moved inside, and made as small as the
    photo is: no pixels are made up, and the face lies off its place.
    """
    left, top, right, bottom = face
    side = min(max(1, round((right - left) / framing.width)), width, height)
    begin = [round((left + right) / 2 - framing.x * side), round((top + bottom) / 2 - framing.y * side)]
    x, y = (min(max(0, at), most - side) for at, most in zip(begin, (width, height), strict=True))
    return x, y, x + side, y + side


def paste(photo: Tensor, image: Tensor, crop: Box, holes: Tensor | None = None) -> Tensor:
    """Return the photo with `image`, brought to the size of `crop`, in its place, feathered along its inner edges.

    Outside the crop the photo stays as it is, bit for bit. An edge on the photo's border has no seam to hide.

    Args:
        photo: (1, 3, H, W) in [−1, 1].
        image: (1, 3, h, w) in [−1, 1], of any size.
        crop: (left, top, right, bottom) in the photo's pixels.
        holes: (H, W) bool, what was missing of the photo: then the rest stays too, but for a soft edge inside the crop.
    """
    left, top, right, bottom = crop
    height, width = bottom - top, right - left
    down = min(image.shape[-2:]) > min(height, width)
    fitted = F.interpolate(image, (height, width), mode="bicubic", antialias=down, align_corners=False).clamp(-1, 1)
    rows = _ramp(height, top > 0, bottom < photo.shape[-2])
    columns = _ramp(width, left > 0, right < photo.shape[-1])
    share = rows[:, None] * columns  # (h, w)
    if holes is not None:
        share = share * _softened(holes[top:bottom, left:right], max(1, round(FEATHER * min(height, width) / 4)))
    pasted = photo.clone()
    under = photo[..., top:bottom, left:right]
    pasted[..., top:bottom, left:right] = torch.where(share > 0, under + share.to(photo) * (fitted - under), under)
    return pasted


def _ramp(n: int, fade_in: bool, fade_out: bool) -> Tensor:
    """The share (n,) of the new image along one axis: 0 to 1 to 0 on smooth steps, or 1 up to an edge without one."""
    wide = max(1.0, FEATHER * n)
    t = (torch.arange(n) / wide).clamp(max=1)
    step = t.square() * (3 - 2 * t)  # no corner at either end
    return (step if fade_in else torch.ones(n)) * (step.flip(0) if fade_out else torch.ones(n))


def _softened(holes: Tensor, radius: int) -> Tensor:
    """1 in the holes, falling to 0 within 2·`radius` pixels outside of them."""
    mask = holes.float()[None, None]
    wider = F.max_pool2d(mask, 2 * radius + 1, 1, radius)
    return torch.maximum(mask, F.avg_pool2d(wider, 2 * radius + 1, 1, radius, count_include_pad=False))[0, 0]


def _by_size(box: Box) -> tuple[int, Box]:
    return box[0] - box[2], box


def _holds(larger: Box, box: Box) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return larger[0] <= x <= larger[2] and larger[1] <= y <= larger[3]


@functools.cache
def _cascade():
    from skimage.data import lbp_frontal_face_cascade_filename  # here, since scikit-image takes long to import
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())
