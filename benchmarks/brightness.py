"""Record how bright each of CSGM's CelebA test images is: numbers alone, since the images may not be passed on.

    python -m benchmarks brightness

Writes data/reference/celeba_brightness.csv, by `ilo.study.brightness`. Needs celebAtest.zip (data/README.md).
"""

from ilo import study
from ilo.files import written_atomically
from ilo.provenance import checkout, revision
from ilo.study.brightness import brightness_of


def main() -> None:
    rows = brightness_of(study.csgm_test_images(64)).round(5)
    rows.insert(0, "image", [f"CelebA {i + 1}" for i in range(len(rows))])
    with written_atomically(checkout() / "data" / "reference" / "celeba_brightness.csv") as temporary:
        rows.assign(revision=revision()).to_csv(temporary, index=False)
    print(rows.describe().round(3).to_string())
