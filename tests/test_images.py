"""Image files of every kind become the same tensors, and what is no image is refused in words."""

import io
import re

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ilo import images
from ilo.images import astronaut_face, check_images, read_folder, read_image, read_seen, sample_photo, write_image

LEVELS = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)  # 12 high, 9 wide


def tensor(levels: np.ndarray) -> Tensor:
    """8-bit levels (H, W, 3) as the image that they are."""
    return (torch.from_numpy(levels.astype(np.float64)).permute(2, 0, 1)[None] / 127.5 - 1).float()


def saved(folder, image: Image.Image, name: str = "image.png", **options):
    image.save(folder / name, **options)
    return folder / name


def test_levels_are_read_exactly(tmp_path):
    read = read_image(saved(tmp_path, Image.fromarray(LEVELS)))
    assert read.dtype == torch.float32
    assert torch.equal(read, tensor(LEVELS))
    assert read.is_contiguous()
    black_white = np.stack([np.zeros((2, 2, 3)), np.full((2, 2, 3), 255)]).reshape(4, 2, 3).astype(np.uint8)
    assert read_image(saved(tmp_path, Image.fromarray(black_white))).unique().tolist() == [-1, 1]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".PNG"])
def test_writing_and_reading_give_the_image_back(tmp_path, suffix):
    image = tensor(LEVELS)
    write_image(tmp_path / f"new/folder/image{suffix}", image)
    assert torch.equal(read_image(tmp_path / f"new/folder/image{suffix}"), image)
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == [f"image{suffix}"]


def test_writing_takes_one_image_of_one_or_three_channels(tmp_path):
    write_image(tmp_path / "a.png", tensor(LEVELS)[0].double().requires_grad_())
    assert torch.equal(read_image(tmp_path / "a.png"), tensor(LEVELS))
    grey = tensor(LEVELS)[:, :1]
    write_image(tmp_path / "grey.png", grey)
    assert torch.equal(read_image(tmp_path / "grey.png"), grey.expand(-1, 3, -1, -1))
    with Image.open(tmp_path / "grey.png") as image:
        assert image.mode == "L"


@given(st.floats(-1, 1))
def test_a_value_is_written_as_the_nearest_level(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.png"
    write_image(path, torch.full((3, 1, 1), value, dtype=torch.float64))
    assert abs(read_image(path)[0, 0, 0, 0].item() - value) <= 1 / 255 + 1e-6


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 3, 4, 4), r"one image of 1 or 3 channels .* got shape \(2, 3, 4, 4\)"),
        (torch.zeros(2, 4, 4), r"one image of 1 or 3 channels"),
        (torch.full((3, 4, 4), 1.01), r"must lie in \[−1, 1\]"),
        (torch.zeros(4, 4), r"must have shape \(B, C, H, W\)"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, image, message):
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / "image.png", image)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"suffix '\.photo'.*use \.png"):
        write_image(tmp_path / "image.photo", tensor(LEVELS))


def test_greyscale_is_repeated(tmp_path):
    grey = LEVELS[:, :, 0]
    expected = tensor(np.repeat(grey[:, :, None], 3, 2))
    assert torch.equal(read_image(saved(tmp_path, Image.fromarray(grey))), expected)
    bits = read_image(saved(tmp_path, Image.fromarray(grey > 127), "bits.png"))
    assert torch.equal(bits, torch.where(expected > 0, 1.0, -1.0))


def test_16_bits_are_rounded_to_8(tmp_path):
    wide = LEVELS[:, :, 0].astype(np.uint16) * 257
    expected = tensor(np.repeat(LEVELS[:, :, :1], 3, 2))
    for suffix in ("png", "tif"):
        assert torch.equal(read_image(saved(tmp_path, Image.fromarray(wide), f"wide.{suffix}")), expected)
    off = np.clip(wide.astype(int) + 100, 0, 65535).astype(np.uint16)  # less than half a level away
    assert torch.equal(read_image(saved(tmp_path, Image.fromarray(off), "off.png")), expected)


def test_a_float_image_has_no_known_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(LEVELS[:, :, 0].astype(np.float32)), "float.tif")
    with pytest.raises(ValueError, match="neither 8-bit nor 16-bit"):
        read_image(path)


def test_transparent_pixels_show_white(tmp_path):
    alpha = np.zeros(LEVELS.shape[:2], np.uint8)
    alpha[:4], alpha[4:8] = 255, 128
    path = saved(tmp_path, Image.fromarray(np.dstack([LEVELS, alpha])))
    read = read_image(path)
    assert torch.equal(read[:, :, :4], tensor(LEVELS)[:, :, :4])
    assert (read[:, :, 8:] == 1).all()
    blended = 128 / 255 * tensor(LEVELS)[:, :, 4:8] + 127 / 255
    torch.testing.assert_close(read[:, :, 4:8], blended, rtol=0, atol=1.01 / 127.5)


def test_palettes_and_printing_colours_are_read(tmp_path):
    few = LEVELS // 128 * 255
    palette = Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    assert torch.equal(read_image(saved(tmp_path, palette, "palette.gif")), tensor(few))
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    cmyk = saved(tmp_path, Image.fromarray(flat).convert("CMYK"), "print.jpg", quality=100, subsampling=0)
    torch.testing.assert_close(read_image(cmyk), tensor(flat), rtol=0, atol=4 / 127.5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_orientation_is_applied(tmp_path, orientation):
    upright = np.arange(12, dtype=np.uint8).reshape(4, 3) * 20
    as_stored = {  # how the sensor lay: the transformation that EXIF asks for brings `upright` back
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(as_stored)), exif=exif)
    assert torch.equal(read_image(path), tensor(np.repeat(upright[:, :, None], 3, 2)))


def test_size_takes_the_central_square(tmp_path):
    wide = np.zeros((20, 50, 3), np.uint8)
    wide[:, 15:35] = 255  # the central square is white, all else black
    assert (read_image(saved(tmp_path, Image.fromarray(wide)), size=8) == 1).all()
    tall = saved(tmp_path, Image.fromarray(np.ascontiguousarray(wide.transpose(1, 0, 2))))
    assert (read_image(tall, size=33) == 1).all()


def test_resizing_is_antialiased(tmp_path):
    """A checkerboard of single pixels becomes grey, not a coarser pattern."""
    board = np.indices((64, 64)).sum(0) % 2 * 255
    path = saved(tmp_path, Image.fromarray(np.repeat(board[:, :, None], 3, 2).astype(np.uint8)))
    assert read_image(path, size=16).abs().max() < 0.05


def test_resizing_to_its_own_size_changes_nothing(tmp_path):
    square = LEVELS[:9]
    assert torch.equal(read_image(saved(tmp_path, Image.fromarray(square)), size=9), tensor(square))


def test_a_crop_comes_first(tmp_path):
    path = saved(tmp_path, Image.fromarray(LEVELS))
    assert torch.equal(read_image(path, crop=(1, 2, 8, 6)), tensor(LEVELS)[..., 2:6, 1:8])
    assert torch.equal(read_image(path, size=4, crop=(1, 2, 5, 6)), tensor(LEVELS)[..., 2:6, 1:5])
    for crop in ((0, 0, 10, 5), (-1, 0, 5, 5), (5, 5, 5, 6), (0, 6, 5, 4)):
        with pytest.raises(ValueError, match=r"the crop .* does not lie inside 9×12 pixels"):
            read_image(path, crop=crop)
    with pytest.raises(ValueError, match="size must be an integer from 1 to"):
        read_image(path, size=0)


def test_an_open_file_will_do(tmp_path):
    data = saved(tmp_path, Image.fromarray(LEVELS)).read_bytes()
    assert torch.equal(read_image(io.BytesIO(data)), tensor(LEVELS))


def test_a_missing_file_a_folder_and_a_broken_one_are_told_apart(tmp_path):
    missing = tmp_path / "missing.png"
    with pytest.raises(FileNotFoundError, match=f"no such image: {re.escape(str(missing))}"):
        read_image(missing)
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)
    text = tmp_path / "text.png"
    text.write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.png is not an image that can be read"):
        read_image(text)
    whole = saved(tmp_path, Image.fromarray(np.tile(LEVELS, (20, 20, 1)))).read_bytes()
    for length in (0, 20, len(whole) // 2):
        text.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"text\.png is not an image that can be read"):
            read_image(text)


def test_an_enormous_image_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ValueError, match="too large an image"):
        read_image(saved(tmp_path, Image.fromarray(LEVELS)))


def write_seen(folder, levels: np.ndarray, seen: np.ndarray):
    photo = saved(folder, Image.fromarray(levels), "photo.png")
    return photo, saved(folder, Image.fromarray((255 * seen).astype(np.uint8)), "mask.png")


def test_a_photo_with_holes_at_its_own_size(tmp_path):
    seen = np.random.default_rng(1).random(LEVELS.shape[:2]) < 0.5
    photo, mask = read_seen(*write_seen(tmp_path, LEVELS, seen))
    assert mask.dtype == torch.bool
    np.testing.assert_array_equal(mask.numpy(), seen)
    assert torch.equal(photo, tensor(LEVELS) * mask)


def test_no_colour_leaks_out_of_the_holes(tmp_path):
    """Shrunk, a pixel is the mean of what is seen of it, whatever the holes are painted with."""
    rng = np.random.default_rng(2)
    levels, seen = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8), rng.random((24, 24)) < 0.6
    other = np.where(seen[:, :, None], levels, 255 - levels)
    photo, mask = read_seen(*write_seen(tmp_path, levels, seen), size=8)
    again, same = read_seen(*write_seen(tmp_path, other, seen), size=8)
    assert torch.equal(photo, again)
    assert torch.equal(mask, same)

    blocks = (levels / 127.5 - 1).reshape(8, 3, 8, 3, 3).transpose(0, 2, 1, 3, 4).reshape(8, 8, 9, 3)
    weights = seen.reshape(8, 3, 8, 3).transpose(0, 2, 1, 3).reshape(8, 8, 9, 1)
    np.testing.assert_array_equal(mask.numpy(), weights.sum((2, 3)) >= 4.5)
    expected = np.where(mask.numpy()[..., None], (blocks * weights).sum(2) / np.maximum(weights.sum(2), 1), 0)
    np.testing.assert_allclose(photo[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_photo_and_mask_are_cropped_alike(tmp_path):
    seen = np.random.default_rng(3).random(LEVELS.shape[:2]) < 0.5
    photo, mask = read_seen(*write_seen(tmp_path, LEVELS, seen), size=4, crop=(1, 2, 5, 6))
    np.testing.assert_array_equal(mask.numpy(), seen[2:6, 1:5])
    assert torch.equal(photo, (tensor(LEVELS)[..., 2:6, 1:5]) * mask)


def test_a_mask_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the photo is 9×12 pixels but its mask 8×12"):
        read_seen(*write_seen(tmp_path, LEVELS, np.ones((12, 8))))
    with pytest.raises(ValueError, match="shows nothing: white must mark the pixels that are seen"):
        read_seen(*write_seen(tmp_path, LEVELS, np.zeros((12, 9))))


def test_the_astronauts_face():
    face = astronaut_face(200)
    assert torch.equal(face, tensor(skimage.data.astronaut()[:200, 120:320]))
    small = astronaut_face()
    assert small.shape == (1, 3, 64, 64)
    # the same picture: box means of both agree but for the kernels' difference
    coarse = torch.nn.functional.avg_pool2d(face, 25)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(small, 8), coarse, rtol=0, atol=0.06)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_pass_the_check(dtype):
    check_images(torch.tensor([-1, 0, 1], dtype=dtype).view(1, 1, 1, 3))
    check_images(tensor(LEVELS).to(dtype).requires_grad_())
    check_images(torch.full((1, 3, 2, 2), 1 + 1e-6))  # rounding


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0]], TypeError, "photo must be a torch.Tensor, got list"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), TypeError, r"x\.float\(\) / 127\.5 - 1"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int64), TypeError, "floating-point values, got torch.int64"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.complex64), TypeError, "floating-point"),
        (torch.zeros(3, 2, 2), ValueError, r"got \(3, 2, 2\): x\.unsqueeze\(0\)"),
        (torch.zeros(1, 1, 3, 2, 2), ValueError, r"\(B, C, H, W\), got \(1, 1, 3, 2, 2\)"),
        (torch.zeros(0, 3, 2, 2), ValueError, "photo is empty"),
        (torch.full((1, 3, 2, 2), float("inf")), ValueError, "NaN or infinite"),
        (torch.full((1, 3, 2, 2), float("nan")), ValueError, "NaN or infinite"),
        (torch.full((1, 3, 2, 2), 254.0), ValueError, "from 254 to 254; they look like 0–255"),
        (torch.full((1, 3, 2, 2), -1.2), ValueError, r"from -1\.2 to -1\.2; clamp"),
    ],
)
def test_what_is_no_image_is_named(x, error, message):
    with pytest.raises(error, match=message):
        check_images(x, "photo")


def test_a_folder_is_read_by_name_and_only_its_images(tmp_path):
    for name in ("b", "a"):
        write_image(tmp_path / f"{name}.png", torch.zeros(3, 9, 7))
    (tmp_path / "notes.txt").write_text("no image")
    found = read_folder(tmp_path, 8)
    assert list(found) == ["a", "b"]
    assert found["a"].shape == (1, 3, 8, 8)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_folder(tmp_path / "missing", 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image files"):
        read_folder(tmp_path / "empty", 8)


@pytest.mark.parametrize("name", ["chelsea", "camera"])
def test_a_sample_photo_is_the_central_square_reduced(name):
    photo = sample_photo(name, 60)
    levels = np.atleast_3d(getattr(skimage.data, name)()) / 127.5 - 1
    height, width = levels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(levels[top : top + side, left : left + side]).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)
    assert photo.shape == (1, 3, 60, 60)
    means = torch.nn.functional.adaptive_avg_pool2d(square, 60)  # not bicubic, but near where the image is smooth
    assert (photo - means).abs().mean() < 0.06
    assert abs(photo.mean() - square.mean()) < 0.005


def test_a_name_that_is_no_sample_photo_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of 'camera', .*, got 'download_all'"):
        sample_photo("download_all", 8)


def test_a_folder_is_read_past_what_is_no_image_and_none_is_dropped(tmp_path):
    for name in ("a.png", "a.jpg", "b.png", "._b.png"):
        Image.fromarray(LEVELS).save(tmp_path / name)
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "old.png").mkdir()
    assert list(images.read_folder(tmp_path, 8)) == ["a.jpg", "a.png", "b"]


def test_a_format_that_is_only_read_is_not_written_to(tmp_path):
    for name in ("a.psd", "a.fli", "a"):
        with pytest.raises(ValueError, match=r"use \.png"):
            write_image(tmp_path / name, torch.zeros(3, 4, 4))
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_fits_no_memory_is_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(LEVELS))
    with pytest.raises(ValueError, match="size must be an integer from 1 to 8192"):
        read_image(path, size=10**6)


def test_holes_are_seen(tmp_path):
    pixels = np.full((4, 4, 4), 255, np.uint8)
    assert not images.is_transparent(saved(tmp_path, Image.fromarray(pixels), "opaque.png"))
    pixels[0, 0, 3] = 254
    assert images.is_transparent(saved(tmp_path, Image.fromarray(pixels), "holes.png"))
    assert not images.is_transparent(saved(tmp_path, Image.fromarray(LEVELS), "rgb.png"))
