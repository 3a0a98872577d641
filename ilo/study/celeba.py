"""CSGM's CelebA test images, which the quantitative experiments compare on and the project may not pass on."""

import io
import os
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from ilo.assets import AssetError, explained, sha256_of
from ilo.images import read_image
from ilo.provenance import checkout

ARCHIVE = "celebAtest.zip"
SHA256 = "f1ad1049a415d7c887396062b6fe52b2444f0722e72dc653c086788f0376d50c"
HOMEPAGE = "https://github.com/AshishBora/csgm"


def csgm_test_images(size: int = 64) -> Tensor:
    """The 64 CelebA test images of CSGM (Bora et al. 2017): (64, 3, size, size) in [−1, 1], in order of file name.

    Photos of 178×218; the central 178×178 resized with antialiasing. CelebA may be used for research but not passed
    on: celebAtest.zip is looked for in the folders that ILO_IMAGES and ILO_ASSETS name, and in data/ of the checkout.

    Raises:
        AssetError: the file is not there, or not the pinned one; the message says where to get it.
    """
    with zipfile.ZipFile(_csgm_archive()) as archive:
        photos = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        return torch.cat([read_image(io.BytesIO(archive.read(name)), size) for name in photos])


def celeba_available() -> bool:
    """Whether those images are here."""
    try:
        _csgm_archive()
    except AssetError:
        return False
    return True


def _csgm_archive() -> Path:
    folders = [Path(named).expanduser() for name in ("ILO_IMAGES", "ILO_ASSETS") if (named := os.environ.get(name))]
    if (root := checkout()) is not None:
        folders.append(root / "data")
    found = next((folder / ARCHIVE for folder in folders if (folder / ARCHIVE).is_file()), None)
    if found is None:
        raise AssetError(
            f"the CelebA test images are not here: download {ARCHIVE}, which lies at the top of the CSGM authors' "
            f"repository {HOMEPAGE}, into the folder that ILO_IMAGES names or data/ of this repository's checkout "
            f"(looked for in: {', '.join(map(str, folders)) or 'no folder'})"
        )
    with explained(f"read {found}"):
        digest = sha256_of(found)
    if digest != SHA256:
        raise AssetError(f"{found} is corrupt or another file: its sha256 is {digest}, expected {SHA256}")
    return found
