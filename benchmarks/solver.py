"""What a step of the solver costs against the bare network, and what a batch saves.

    python -m benchmarks solver

Both sides of each ratio are timed in alternating blocks of one run, and the median ratio is reported: this holds on a
shared, noisy machine where absolute times do not. The bound is the bare forward and backward pass of the layers that
the round optimises, from the same state, with nothing else.
"""

import statistics
import time

import torch

import ilo

BLOCKS, STEPS = 9, 6


def bare_pass(G, state, layer: int, steps: int) -> None:
    """Forward and backward through layers `layer` to the last, nothing else."""
    x = state["features"].clone().requires_grad_()
    ones = None
    for _ in range(steps):
        images = G({"features": x}, layer)
        ones = torch.ones_like(images) if ones is None else ones
        torch.autograd.grad(images, x, ones)


def step_ratios(G, batch: int, layer: int, radius: float | None) -> list[float]:
    """Time of `STEPS` solver steps over the time of as many bare passes, one ratio a block."""
    A = ilo.operators.RandomInpainting(G.image_shape, keep=0.1, rng=0)
    y = A(G(G.sample(batch, 1, "truth")))
    state = G.run(G.sample(batch, 0), 0, layer)
    stamps: list[float] = []

    def callback(step):
        stamps.append(time.perf_counter())

    ratios = []
    for _ in range(BLOCKS):
        began = time.perf_counter()
        bare_pass(G, state, layer, STEPS)
        bare = time.perf_counter() - began
        stamps.clear()
        ilo.recover(
            G, A, y, rounds=[ilo.Round(layer, STEPS + 2, 0.01, radius=radius)], start=state, callback=callback,
            progress=False,
        )  # fmt: skip
        ratios.append((stamps[-2] - stamps[1]) / bare)  # the first step warms up, the last takes no gradient
    return ratios


def batch_ratio(G, batch: int, rounds) -> float:
    """Time an image takes in a batch of `batch` over the time it takes alone (median of three)."""
    A = ilo.operators.RandomInpainting(G.image_shape, keep=0.1, rng=0)
    y = A(G(G.sample(batch, 1, "truth")))
    ratios = []
    for _ in range(3):
        times = []
        for part in (y[:1], y):
            began = time.perf_counter()
            ilo.recover(G, A, part, rounds=rounds, rng=0, progress=False)
            times.append((time.perf_counter() - began) / len(part))
        ratios.append(times[1] / times[0])
    return statistics.median(ratios)


def main() -> None:
    G = ilo.generators.load("dcgan-digiface64")
    print(f"{G.name}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("a solver step against the bare forward and backward pass, batch of 16 (bound: 1.00)")
    for layer in range(G.num_layers):
        for radius in (None, 1000.0):
            ratios = step_ratios(G, 16, layer, radius)
            low, _, high = statistics.quantiles(ratios, n=4)
            print(
                f"  layer {layer}  {'free' if radius is None else 'ball':5} {statistics.median(ratios):.3f}"
                f"  (quartiles {low:.3f}–{high:.3f})"
            )
    print("time an image takes in a batch of 16 over the time it takes alone")
    for layer in range(4):
        print(f"  layer {layer}        {batch_ratio(G, 16, [ilo.Round(layer, 8, 0.01, radius=1000.0)]):.3f}")


if __name__ == "__main__":
    main()
