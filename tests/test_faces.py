"""Faces are found where they are, framed as the generator has them, and put back without a seam or a changed pixel."""

import io
import os
import zipfile
from pathlib import Path

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ilo.faces import Framing, crop_about, find_faces, framing_of, paste
from ilo.generators import random_stylegan2, stylegan2
from ilo.images import central_square, read_image, sample_photo


def photo() -> torch.Tensor:
    """The whole astronaut, (1, 3, 512, 512)."""
    levels = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None]
    return (levels.double() / 127.5 - 1).float()


FACE = (170, 65, 275, 170)  # of the astronaut, from brows to chin, by eye


def overlap(a, b) -> float:
    """Intersection over union of two boxes."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    inner = max(0, width) * max(0, height)
    return inner / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - inner)


def test_the_astronauts_face_is_found_and_no_reflection():
    (face,) = find_faces(photo())
    assert overlap(face, FACE) > 0.7


def test_the_largest_comes_first():
    small = F.interpolate(photo()[..., :256, 100:356], (160, 160), mode="bicubic", antialias=True).clamp(-1, 1)
    both = torch.full((1, 3, 512, 760), 1.0)
    both[..., 20:180, 20:180] = small
    both[..., 248:] = photo()
    found = find_faces(both)
    assert len(found) == 2
    assert found[0][0] > 248 > found[1][0]


@pytest.mark.parametrize("size", [192, 1500], ids=["tiny", "huge"])
def test_boxes_are_in_the_photos_own_pixels(size):
    scaled = F.interpolate(photo(), (size, size), mode="bicubic", antialias=True).clamp(-1, 1)
    assert overlap(find_faces(scaled)[0], [n * size / 512 for n in FACE]) > 0.6


def test_colour_does_not_matter_and_grey_has_one_channel():
    grey = photo().mean(1, keepdim=True)
    faces = find_faces(grey)
    assert faces == find_faces(grey.expand(-1, 3, -1, -1))
    assert overlap(faces[0], FACE) > 0.6


@pytest.mark.parametrize("name", ["coffee", "rocket", "moon"])
def test_there_is_no_face_in_what_is_none(name):
    assert find_faces(sample_photo(name, 256)) == []


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 4, 900), (1, 1, 12, 12)])
def test_a_photo_too_small_for_a_face_has_none(shape):
    assert find_faces(torch.zeros(shape)) == []


def test_what_is_no_image_is_refused():
    for wrong in (torch.zeros(2, 3, 64, 64), torch.zeros(1, 4, 64, 64), torch.full((1, 3, 64, 64), 3.0)):
        with pytest.raises(ValueError, match="image"):
            find_faces(wrong)


def test_portraits_have_one_face_each():
    archive = Path(os.environ.get("ILO_IMAGES", ".")) / "portraits128.zip"
    if not archive.is_file():
        pytest.skip("ILO_IMAGES names no folder with portraits128.zip, 805 official portraits: nothing was looked for")
    with zipfile.ZipFile(archive) as portraits:
        names = [name for name in sorted(portraits.namelist()) if name.endswith(".jpg")][::20]
        counts = [len(find_faces(read_image(io.BytesIO(portraits.read(name))))) for name in names]
    assert len(counts) > 35
    assert sum(count == 1 for count in counts) >= 0.97 * len(counts)


def test_the_framing_is_that_of_the_generators_own_images(dcgan):
    framing = framing_of(dcgan)
    assert 0.6 < framing.width < 0.8
    assert abs(framing.x - 0.5) < 0.03
    assert 0.5 < framing.y < 0.6
    left, top, right, bottom = crop_about(FACE, framing, 512, 512)
    assert right - left == bottom - top
    assert (FACE[2] - FACE[0]) / (right - left) == pytest.approx(framing.width, abs=0.01)
    assert ((FACE[1] + FACE[3]) / 2 - top) / (right - left) == pytest.approx(framing.y, abs=0.01)


def test_a_generator_of_no_faces_is_told_so():
    G = stylegan2(random_stylegan2(32, channel_base=256, channel_max=8, z_dim=8, w_dim=8, mapping_layers=1))
    with pytest.raises(ValueError, match="makes no faces"):
        framing_of(G)


boxes = st.tuples(st.integers(0, 90), st.integers(0, 60), st.integers(1, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[2])
)


@given(boxes, st.floats(0.2, 1.5), st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.integers(1, 150), st.integers(1, 120))
def test_a_crop_is_a_square_inside_the_photo(face, share, x, y, width, height):
    left, top, right, bottom = crop_about(face, Framing(share, x, y), width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left == bottom - top


def test_at_the_border_the_crop_keeps_its_size_and_moves_inside():
    framing = Framing(0.5, 0.5, 0.5)
    assert crop_about((0, 0, 20, 20), framing, 100, 80) == (0, 0, 40, 40)
    assert crop_about((80, 60, 100, 80), framing, 100, 80) == (60, 40, 100, 80)
    assert crop_about((40, 30, 60, 50), framing, 100, 80) == (30, 20, 70, 60)
    assert crop_about((20, 10, 80, 70), framing, 100, 80) == (10, 0, 90, 80), "never larger than the photo"


CROP = (158, 49, 289, 180)


@pytest.mark.parametrize("size", [64, 131, 300])
def test_pasting_changes_no_pixel_outside_the_crop(size):
    before = photo()
    kept = before.clone()
    after = paste(before, torch.full((1, 3, size, size), -1.0), CROP)
    left, top, right, bottom = CROP
    outside = torch.ones(512, 512, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(after[..., outside], before[..., outside])
    assert torch.equal(before, kept), "the photo that was given is not written on"
    assert (after[..., 100:130, 210:240] + 1).max() < 1e-6, "in the middle there is nothing of the old"


def test_the_seam_is_no_edge():
    """White in black: along any row the step from pixel to pixel is that of the feather, not the whole range."""
    white = paste(torch.full((1, 3, 200, 200), -1.0), torch.ones(1, 3, 64, 64), (50, 50, 150, 150))
    for axis in (2, 3):
        assert white.diff(dim=axis).abs().max() < 2 * 2 / 12, "the feather is 12 pixels wide, its steepest step 1.5/12"
    assert white[0, 0, 100, 50] == white[0, 0, 100, 149] == -1, "it begins and ends at the photo's own pixels"
    assert white[0, 0, 100, 100] == pytest.approx(1)


def test_an_edge_on_the_photos_border_is_not_feathered():
    image = torch.full((1, 3, 64, 64), 1.0)
    pasted = paste(torch.full((1, 3, 100, 120), -1.0), image, (0, 0, 60, 60))
    assert (1 - pasted[..., :40, 0]).max() < 1e-6
    assert (1 - pasted[..., 0, :40]).max() < 1e-6
    assert pasted[0, 0, 20, 59] == -1
    assert (1 - paste(torch.zeros(1, 3, 64, 64), image, (0, 0, 64, 64))).max() < 1e-6


def test_pasting_what_was_there_changes_nothing_to_see():
    before = photo()
    left, top, right, bottom = CROP
    after = paste(before, before[..., top:bottom, left:right], CROP)
    assert (after - before).abs().max() < 1e-6


def test_where_holes_are_told_only_they_are_filled():
    holes = torch.zeros(200, 200, dtype=torch.bool)
    holes[90:110, 80:120] = True
    before = torch.zeros(1, 3, 200, 200)
    after = paste(before, torch.ones(1, 3, 64, 64), (50, 50, 150, 150), holes)
    assert (1 - after[..., holes]).max() < 1e-6
    assert torch.equal(after[..., :80, :], before[..., :80, :]), "ten pixels away from the holes nothing changes"
    assert after.diff(dim=2).abs().max() < 0.5, "and their edges are soft"


@given(st.integers(1, 50), st.integers(1, 50))
def test_the_central_square_is_that_of_reading(width, height):
    left, top, right, bottom = central_square((3, 4, 3 + width, 4 + height))
    side = min(width, height)
    assert (right - left, bottom - top) == (side, side)
    assert (left - 3, top - 4) == ((width - side) // 2, (height - side) // 2)
