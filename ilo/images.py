"""Image files and tensors: images are (B, C, H, W) in [−1, 1], −1 black and 1 full intensity."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ilo.checks import check_choice, check_count, check_kind, shown
from ilo.files import written_atomically

Box = tuple[int, int, int, int]

LARGEST = 8192  # pixels a side that an image is resized to: its numbers take some 3 GB on the way
ROUNDING = 1e-4  # how far beyond ±1 a value may lie and still count as one that rounding put there


def check_images(x: Tensor, name: str = "images") -> None:
    """Raise unless `x` is a batch of images, (B, C, H, W) of finite floating-point values in [−1, 1].

    Values in [0, 1] are inside [−1, 1] and cannot be told from dull images: bring them to [−1, 1] by 2·x − 1.

    Raises:
        TypeError: `x` is not a floating-point tensor.
        ValueError: its shape or its values are not those of images; the message guesses at the cause.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        hint = ": bring 8-bit values to [−1, 1] by x.float() / 127.5 - 1" if x.dtype == torch.uint8 else ""
        raise TypeError(f"{name} must hold floating-point values, got {x.dtype}{hint}")
    if x.ndim != 4:
        hint = ": x.unsqueeze(0) makes a batch of one" if x.ndim == 3 else ""
        raise ValueError(f"{name} must have shape (B, C, H, W), got {tuple(x.shape)}{hint}")
    if x.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(x.shape)}")
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} holds NaN or infinite values")
    if low < -1 - ROUNDING or high > 1 + ROUNDING:
        looks_8_bit = low >= 0 and 2 < high <= 255
        hint = "they look like 0–255: use x / 127.5 - 1" if looks_8_bit else "clamp an overshoot by x.clamp(-1, 1)"
        raise ValueError(f"{name} must lie in [−1, 1], got values from {low:.4g} to {high:.4g}; {hint}")


def read_image(path: str | Path | BinaryIO, size: int | None = None, crop: Box | None = None) -> Tensor:
    """Read an image file as RGB, (1, 3, H, W) in [−1, 1].

    The orientation that a camera noted (EXIF) is applied; greyscale is repeated over the channels; 16-bit values are
    rounded to 8 bits; transparent pixels show white.

    Args:
        path: any file that Pillow reads, by its path or open.
        size: crop to the central square and resize it to `size` × `size` (bicubic with antialiasing).
        crop: (left, top, right, bottom) in pixels, taken before anything else.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, a broken one, or a crop that is not inside it.
    """
    return as_tensor(framed(_open_rgb(path), size, crop))


def is_transparent(path: str | Path | BinaryIO) -> bool:
    """Whether an image file has pixels that are transparent, in part or wholly. Errors as `read_image`."""
    with opened(path) as image:
        if not image.has_transparency_data:
            return False
        return image.convert("RGBA").getextrema()[3][0] < 255


def read_folder(folder: str | Path, size: int) -> dict[str, Tensor]:
    """Read every image of a folder as `read_image` does: name -> (1, 3, size, size), by name.

    An image's name is its file's without the suffix, or with it where two differ in that alone. See `image_files`.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it, or one that cannot be read.
    """
    check_count(size, "size", most=LARGEST)
    read = {path: read_image(path, size) for path in image_files(folder)}
    stems = [path.stem for path in read]
    return {path.stem if stems.count(path.stem) == 1 else path.name: image for path, image in read.items()}


def image_files(folder: str | Path) -> list[Path]:
    """The image files of a folder, by name: those that Pillow reads by their suffix, but no hidden ones, no PDF.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it.
    """
    folder = Path(check_kind(folder, (str, Path), "folder"))
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of images at {folder}")
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in known and p.name[0] != "." and p.is_file())
    if not paths:
        raise ValueError(f"no image files in {folder}: it needs .png, .jpg or what else Pillow reads")
    return paths


def read_seen(
    photo: str | Path, mask: str | Path, size: int | None = None, crop: Box | None = None
) -> tuple[Tensor, Tensor]:
    """Read a photo with holes and the mask of what is seen of it: white (> 50 %) is seen, black missing.

    Both are cropped alike (see `read_image`). With `size`, a pixel of the result is the mean of what is seen of its
    area, so that no colour leaks out of the holes, and counts as seen when at least half of its area is.

    Returns:
        photo: (1, 3, H, W) in [−1, 1], 0 (mid-grey) where nothing is seen.
        seen: (H, W), bool.

    Raises:
        FileNotFoundError, ValueError: as `read_image`; also when the two differ in size, or nothing is seen.
    """
    image, cover = _open_rgb(photo), _open_rgb(mask)
    if image.size != cover.size:
        raise ValueError(f"the photo is {_wxh(image)} pixels but its mask {_wxh(cover)}: they must be of one size")
    x = as_tensor(framed(image, None, crop, square=size is not None))  # (1, 3, H, W)
    seen = (as_tensor(framed(cover, None, crop, square=size is not None)).mean(1, keepdim=True) > 0).to(x)
    total = x * seen
    if size is not None:
        total, seen = (F.interpolate(t, size=(size, size), mode="area") for t in (total, seen))
    x = torch.where(seen >= 0.5, total / seen.clamp(min=0.5), 0.0)
    if not (seen >= 0.5).any():
        raise ValueError(f"{mask} shows nothing: white must mark the pixels that are seen, and it has none")
    return x, (seen >= 0.5)[0, 0]


def central_square(box: Box) -> Box:
    """The largest square in the middle of a box (left, top, right, bottom): what `read_image` takes of a crop."""
    left, top, right, bottom = box
    side = min(right - left, bottom - top)
    left, top = left + (right - left - side) // 2, top + (bottom - top - side) // 2
    return left, top, left + side, top + side


def write_image(path: str | Path, image: Tensor) -> None:
    """Write one image, (C, H, W) or (1, C, H, W) in [−1, 1] with 1 or 3 channels, as 8-bit; the suffix says how.

    The file is whole or not there. PNG keeps the 8-bit values exactly.
    """
    batch = image.unsqueeze(0) if isinstance(image, Tensor) and image.ndim == 3 else image
    check_images(batch, "image")
    if len(batch) != 1 or batch.shape[1] not in (1, 3):
        raise ValueError(f"one image of 1 or 3 channels can be written, got shape {tuple(image.shape)}")
    path = Path(check_kind(path, (str, Path), "path"))
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"no image format that can be written has the suffix {path.suffix!r} of {path}: use .png")
    array = as_levels(batch[0])
    with written_atomically(path) as temporary:
        Image.fromarray(array if array.shape[2] == 3 else array[:, :, 0]).save(temporary)


def astronaut_face(size: int = 64) -> Tensor:
    """The face of scikit-image's astronaut, framed as the face generators frame theirs: (1, 3, size, size).

    Eileen Collins, photographed by NASA (Great Images database, public domain); rows 0–200 and columns 120–320 of
    ``skimage.data.astronaut()``, resized with antialiasing.
    """
    from skimage.data import astronaut

    check_count(size, "size", most=LARGEST)
    return as_tensor(framed(Image.fromarray(astronaut()), size, (120, 0, 320, 200)))


def astronaut_film(size: int = 64, frames: int = 24, *, zoom: float = 0.8, pan: float = 0.06) -> Tensor:
    """The astronaut's face, panned to the right, back and to the left while the window shrinks: (T, 3, size, size).

    The photo is that of `astronaut_face`. Frame t is a square window, resized with antialiasing: at first 185 pixels
    wide, at last `zoom` times that, its centre moved by `pan`·sin(2πt/(T − 1)) sides.
    """
    from skimage.data import astronaut

    check_count(size, "size", most=LARGEST)
    check_count(frames, "frames", least=2)
    photo = Image.fromarray(astronaut())
    windows = []
    for t in np.linspace(0, 1, frames):
        side = 185 * (1 - (1 - zoom) * t)
        left, top = 222 + pan * side * np.sin(2 * np.pi * t) - side / 2, 117 - 0.54 * side
        box = (left, top, left + side, top + side)
        windows.append(photo.resize((size, size), Image.Resampling.BICUBIC, box=tuple(float(n) for n in box)))
    return torch.cat([as_tensor(window) for window in windows])


SAMPLE_PHOTOS = ("camera", "chelsea", "coffee", "hubble_deep_field", "moon", "rocket")


def sample_photo(name: str, size: int) -> Tensor:
    """A photo of what is no face, shipped with scikit-image: its central square, RGB, (1, 3, size, size), antialiased.

    One of `SAMPLE_PHOTOS`: "chelsea" is a cat, "camera" and "moon" are grey. Sources, and licences of all but the moon,
    are in the docstrings of `skimage.data`: CC0 or public domain.

    Raises:
        ValueError: no such photo.
    """
    from skimage import data

    check_choice(name, SAMPLE_PHOTOS, "name")
    check_count(size, "size", most=LARGEST)
    return as_tensor(framed(Image.fromarray(getattr(data, name)()).convert("RGB"), size, None))


def _open_rgb(source: str | Path | BinaryIO) -> Image.Image:
    with opened(source) as image:
        return as_rgb(ImageOps.exif_transpose(image))


@contextmanager
def opened(source: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """Open an image; what Pillow raises of it while inside becomes a sentence."""
    if not isinstance(source, (str, Path)) and not hasattr(source, "read"):
        raise TypeError(f"the image must be a path or an open file, got {shown(source)}")
    if isinstance(source, (str, Path)) and not Path(source).exists():
        raise FileNotFoundError(f"no such image: {source}")
    try:
        with Image.open(source) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise ValueError(f"{source} is too large an image: {error}") from error
    except IsADirectoryError:
        raise ValueError(f"{source} is a folder, not an image") from None
    except PermissionError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on a broken file
        raise ValueError(f"{source} is not an image that can be read: {error}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Eight bits and three colours; transparent pixels show white. ValueError where white is not known."""
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        levels = np.asarray(image, dtype=np.float64)
        if image.mode == "F" or levels.min() < 0 or levels.max() > 65535:
            raise ValueError("its values are neither 8-bit nor 16-bit, so that white is not known")
        return Image.fromarray(np.round(levels / 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def framed(image: Image.Image, size: int | None, crop: Box | None, square: bool = False) -> Image.Image:
    """Crop, then cut out the central square if `square` or a `size` is asked for, then resize."""
    if size is not None:
        size = check_count(size, "size", most=LARGEST)
    if crop is not None:
        if not isinstance(crop, Sequence) or len(crop) != 4:
            raise ValueError(f"crop is (left, top, right, bottom) in pixels, got {shown(crop)}")
        left, top, right, bottom = crop = tuple(check_count(n, "each of crop", least=-LARGEST) for n in crop)
        if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
            raise ValueError(f"the crop {crop} (left, top, right, bottom) does not lie inside {_wxh(image)} pixels")
        image = image.crop(crop)
    if square or size is not None:
        image = image.crop(central_square((0, 0, *image.size)))
    return image if size is None else image.resize((size, size), Image.Resampling.BICUBIC)


def as_tensor(image: Image.Image) -> Tensor:
    """An RGB image as (1, 3, H, W) in [−1, 1]."""
    levels = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0)  # (1, 3, H, W)
    return (levels.double() / 127.5 - 1).float().contiguous()


def as_levels(images: Tensor) -> np.ndarray:
    """Images (…, C, H, W) in [−1, 1] as 8-bit levels (…, H, W, C), rounded to the nearest."""
    levels = (127.5 * (images.detach().double() + 1)).round().clamp(0, 255).byte()
    return levels.movedim(-3, -1).cpu().numpy()


def _wxh(image: Image.Image) -> str:
    return f"{image.width}×{image.height}"
