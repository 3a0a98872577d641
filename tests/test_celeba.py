"""CSGM's CelebA test images: where they are looked for, and that they are the photos that they should be."""

import hashlib
import zipfile

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import Image

from ilo.assets import AssetError
from ilo.study import celeba


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The places that are looked into, in their order, all empty."""
    places = {name: tmp_path / name for name in ("ILO_IMAGES", "ILO_ASSETS", "data")}
    for name, place in places.items():
        place.mkdir()
        if name != "data":
            monkeypatch.setenv(name, str(place))
    monkeypatch.setattr(celeba, "checkout", lambda: tmp_path)
    return places


def test_csgm_images_missing_or_wrong_are_explained(folders):
    with pytest.raises(AssetError, match=r"celebAtest\.zip.*github\.com/AshishBora/csgm.*ILO_IMAGES"):
        celeba.csgm_test_images()
    assert not celeba.celeba_available()
    (folders["ILO_ASSETS"] / "celebAtest.zip").write_bytes(b"another file")
    with pytest.raises(AssetError, match="corrupt or another file"):
        celeba.csgm_test_images()
    assert not celeba.celeba_available()


def test_csgm_images_are_looked_for_in_the_folders_that_are_named_and_nowhere_else(folders, monkeypatch, tmp_path):
    monkeypatch.setattr(celeba, "SHA256", hashlib.sha256(b"photos").hexdigest())
    beside = tmp_path.parent / "shared" / "assets"
    beside.mkdir(parents=True)
    (beside / "celebAtest.zip").write_bytes(b"photos")
    assert not celeba.celeba_available(), "not beside the checkout"
    for name in ("data", "ILO_ASSETS", "ILO_IMAGES"):  # each is looked into before the one above
        archive = folders[name] / "celebAtest.zip"
        archive.write_bytes(b"photos")
        assert celeba._csgm_archive() == archive
    monkeypatch.setattr(celeba, "checkout", lambda: None)
    monkeypatch.delenv("ILO_IMAGES")
    monkeypatch.delenv("ILO_ASSETS")
    with pytest.raises(AssetError, match="looked for in: no folder"):
        celeba.csgm_test_images()


def test_csgm_images():
    try:
        images = celeba.csgm_test_images()
    except AssetError as absent:
        pytest.skip(str(absent))
    assert images.shape == (64, 3, 64, 64)
    assert images.min() == -1
    assert images.max() == 1
    assert images.flatten(1).unique(dim=0).shape[0] == 64
    for i, name in ((0, "182638"), (63, "182701")):
        with (
            zipfile.ZipFile(celeba._csgm_archive()) as archive,
            Image.open(archive.open(f"celebAtest/{name}.jpg")) as photo,
        ):
            central = np.asarray(photo.crop((0, 20, 178, 198)), dtype=float)  # of 178×218
        coarse = central[:176, :176].reshape(16, 11, 16, 11, 3).mean((1, 3)) / 127.5 - 1
        ours = F.avg_pool2d(images[i : i + 1], 4)[0].permute(1, 2, 0).numpy()
        # the two grids differ by 1 %: the same photo correlates, a shift of a coarse pixel shows
        assert np.corrcoef(coarse.ravel(), ours.ravel())[0, 1] > 0.985
        assert np.corrcoef(coarse[:, 1:].ravel(), ours[:, :-1].ravel())[0, 1] < 0.97
    assert celeba.csgm_test_images(size=32).shape == (64, 3, 32, 32)
