"""The states that a batch of problems starts from: the same draws for a problem alone and in any batch."""

from collections.abc import Sequence

import torch

from ilo.generators.base import Generator, State


def draw_states(G: Generator, seeds: Sequence[int], copies: int, problems: int) -> State:
    """Draw states at layer 0, copy by copy: (copies · problems, ...). `seeds` holds one, or one a problem."""
    drawn = [G.sample(copies, seed) for seed in seeds]
    state = {}
    for name in drawn[0]:
        stacked = torch.stack([d[name] for d in drawn], 1)  # (copies, seeds, ...)
        state[name] = stacked.expand(copies, problems, *stacked.shape[2:]).flatten(0, 1).contiguous()
    return state
