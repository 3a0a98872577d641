"""Which square of a photo ``ilo recover`` takes, by ``--crop``, and the photo with the result put back."""

import argparse
from dataclasses import dataclass

from torch import Tensor

from ilo.cli.measuring import SMALL, warn
from ilo.faces import Framing, crop_about, find_faces, framing_of, paste
from ilo.generators import Generator
from ilo.images import Box, central_square, read_image, read_seen

PASTED = ("inpaint", "superres")  # tasks whose result has the colours and the light of what surrounds it


@dataclass(frozen=True)
class Place:
    """Where in the photo the search looks. crop: None, the central square. face: its box, where it was looked for."""

    crop: Box | None = None
    face: Box | None = None


def crop_of(text: str) -> Box | str:
    """What --crop says: a box, "face", or "face:N" for the N-th largest."""
    if text == "face" or (text.startswith("face:") and text[5:].isdecimal() and int(text[5:]) > 0):
        return text
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected LEFT,TOP,RIGHT,BOTTOM, face or face:N, got {text!r}") from None
    return left, top, right, bottom


def look_for_face(options: argparse.Namespace, photo: Tensor) -> Box | None:
    """The box of the face that --crop asks for; None where it asks for none.

    ValueError: no face; several, and none of them chosen; fewer than N.
    """
    if not isinstance(options.crop, str):
        return None
    faces = find_faces(photo)
    size = f"{photo.shape[-1]}×{photo.shape[-2]} pixels"
    if not faces:
        raise ValueError(
            f"no face was found in {options.photo} ({size}): it must be upright, look at the camera and be at least "
            "24 pixels wide, and 3 % of the photo; say where it is by --crop LEFT,TOP,RIGHT,BOTTOM"
        )
    asked = options.crop.partition(":")[2]
    if not asked and len(faces) > 1:
        raise ValueError(
            f"{len(faces)} faces were found in {options.photo} ({size}): choose by --crop face:N, face:1 being the "
            f"largest, or by --crop LEFT,TOP,RIGHT,BOTTOM. Their boxes: {_listed(faces)}"
        )
    if asked and int(asked) > len(faces):
        raise ValueError(f"--crop {options.crop}: {len(faces)} were found in {options.photo}: {_listed(faces)}")
    return faces[int(asked or 1) - 1]


def place_of(options: argparse.Namespace, face: Box | None, photo: Tensor, G: Generator) -> Place:
    """The square to take of the photo (1, 3, H, W); says what it is where a face, of `look_for_face`, decides."""
    if face is None:
        return Place(options.crop)
    framing = framing_of(G)
    crop = crop_about(face, framing, photo.shape[-1], photo.shape[-2])
    print(
        f"face: {_said(face)} of {photo.shape[-1]}×{photo.shape[-2]} pixels; crop: {_said(crop)}, in which it is "
        f"{_width(face) / _width(crop):.0%} of the width ({framing.width:.0%} in the images of {G.name})",
        flush=True,
    )
    if _is_off(face, crop, framing):
        warn("the face lies at the border, and off its place in the crop: expect less of the result")
    if _width(crop) < SMALL:
        warn(f"the crop is {_width(crop)} pixels wide, and will be enlarged: its details are made up")
    return Place(crop, face)


def pasted(options: argparse.Namespace, place: Place, image: Tensor) -> Tensor | None:
    """The photo (1, 3, H, W) with the recovered square in its place; None where that is not asked for or no use."""
    if options.crop is None or options.task not in PASTED:
        return None
    holes = None
    if options.mask is not None:
        holes = ~read_seen(options.photo, options.mask)[1]
    return paste(read_image(options.photo), image, central_square(place.crop), holes)


def _is_off(face: Box, crop: Box, framing: Framing) -> bool:
    """Whether the face is a twentieth of the crop's side, or more, from where the framing has it."""
    side = _width(crop)
    x, y = (face[0] + face[2]) / 2 - crop[0], (face[1] + face[3]) / 2 - crop[1]
    return max(abs(x / side - framing.x), abs(y / side - framing.y), _width(face) / side - framing.width) > 0.05


def _width(box: Box) -> int:
    return box[2] - box[0]


def _listed(faces: list[Box]) -> str:
    return "; ".join(f"{n}: {_said(face)}" for n, face in enumerate(faces, 1))


def _said(box: Box) -> str:
    return ",".join(map(str, box))
