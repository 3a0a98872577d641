"""ILO against CSGM on CSGM's 64 CelebA test images, as a table of dB.

    python -m benchmarks celeba

Both see the same measurements (noise 0.02) and the same three starting latents. Needs celebAtest.zip (data/README.md
says where from). Writes a row an image and method to data/reference/celeba_inpainting_gaussian.csv as each level
ends; levels that are there already are not run again.
"""

import pandas as pd

import ilo
from ilo import metrics
from ilo.assets import csgm_test_images
from ilo.files import written_atomically
from ilo.provenance import REPOSITORY, revision

ROWS = REPOSITORY / "data" / "reference" / "celeba_inpainting_gaussian.csv"
LEVELS = {"random pixels": (0.05, 0.1, 0.2), "Gaussian": (0.05, 0.1)}
NOISE_STD, SEED, RESTARTS = 0.02, 0, 3


def operator(task: str, shape, level: float):
    if task == "random pixels":
        return ilo.operators.RandomInpainting(shape, keep=level, rng=SEED)
    return ilo.operators.GaussianSensing(shape, m=round(level * shape[0] * shape[1] * shape[2]), rng=SEED)


def main() -> None:
    G = ilo.generators.load("dcgan-digiface64")
    rounds = ilo.default_rounds(G)
    truth = csgm_test_images(G.image_shape[-1])
    rows = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["task", "level"])
    for task, levels in LEVELS.items():
        for level in levels:
            if ((rows["task"] == task) & (rows["level"] == level)).any():
                continue
            A = operator(task, G.image_shape, level)
            y = ilo.operators.measure(A, truth, noise_std=NOISE_STD, rng=SEED)
            result = ilo.recover(G, A, y, rounds=rounds, rng=SEED, restarts=RESTARTS)
            found = {"CSGM": result.rounds[0].images, "ILO": result.images}  # the first round is CSGM
            parts = [
                metrics.evaluate(images, truth).assign(task=task, level=level, method=method, image=range(len(truth)))
                for method, images in found.items()
            ]
            rows = pd.concat([*([rows] if len(rows) else []), *parts], ignore_index=True)
            with written_atomically(ROWS) as temporary:
                rows.assign(revision=revision()).round(5).to_csv(temporary, index=False)
    table = rows.pivot_table(index=["task", "level"], columns="method", values=["psnr", "lpips"])
    table["gain, dB"] = table["psnr", "ILO"] - table["psnr", "CSGM"]
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
