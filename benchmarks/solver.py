"""What a step of the solver costs against the bare network, and what a batch saves.

    python -m benchmarks solver

Both sides of each ratio are timed in alternating blocks of one run, and the median ratio is reported: this holds on a
shared, noisy machine where absolute times do not. The bound is the bare forward and backward pass of the layers that
the round optimises, from the same state, with nothing else. Beside it stands what Adam alone adds to that bound: the
last layer of a DCGAN is so cheap (one convolution, to three channels) that moving its input costs a good part of it.

Measured on one core of a shared machine, batch 8, free and in a ball: 1.04 and 1.06, 1.05 and 1.06, 1.07 and 1.08, 1.14
and 1.17 at layers 0 to 3; 1.45 and 2.33 at layer 4, where Adam makes 1.23 of the bound and the projection passes over
the features some 20 times. Batch 1, where a step has half a millisecond of calls besides: 1.09 and 1.09, 1.10 and 1.13,
1.19 and 1.22, 1.36 and 1.50; 2.06 and 2.33 at layer 4.
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


def adam_steps(state, steps: int) -> None:
    """As many steps of the round's optimiser on tensors like the state's features, nothing else."""
    x = torch.zeros(state["features"].numel(), requires_grad=True)
    x.grad = torch.ones_like(x)
    optimiser = ilo.adam([x], 0.01)
    for _ in range(steps):
        optimiser.step()


def step_ratios(G, batch: int, layer: int, radius: float | None) -> list[tuple[float, float]]:
    """Time of `STEPS` solver steps, and of bare passes with Adam, over that of as many bare passes; a pair a block."""
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
        adam_steps(state, STEPS)
        with_adam = time.perf_counter() - began
        stamps.clear()
        ilo.recover(
            G, A, y, rounds=[ilo.Round(layer, STEPS + 2, 0.01, radius=radius)], start=state, callback=callback,
            progress=False,
        )  # fmt: skip
        # the first step warms up, the last takes no gradient
        ratios.append(((stamps[-2] - stamps[1]) / bare, with_adam / bare))
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
    for batch in (1, 8):
        print(f"a solver step against the bare forward and backward pass, batch of {batch} (bound: 1.00)")
        for layer in range(G.num_layers):
            for radius in (None, 1000.0):
                ratios, with_adam = zip(*step_ratios(G, batch, layer, radius), strict=True)
                low, _, high = statistics.quantiles(ratios, n=4)
                print(
                    f"  layer {layer}  {'free' if radius is None else 'ball':5} {statistics.median(ratios):.3f}"
                    f"  (quartiles {low:.3f}–{high:.3f}; bare and Adam {statistics.median(with_adam):.3f})"
                )
    print("time an image takes in a batch of 16 over the time it takes alone")
    for layer in range(4):
        print(f"  layer {layer}        {batch_ratio(G, 16, [ilo.Round(layer, 8, 0.01, radius=1000.0)]):.3f}")


if __name__ == "__main__":
    main()
