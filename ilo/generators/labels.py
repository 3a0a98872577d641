"""Class labels of conditional generators, as one weight per class, and what every sample is given alike."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ilo.generators.base import State


def label_vector(label: int | Sequence[float] | None, num_classes: int) -> Tensor:
    """One weight per class, (num_classes,): one-hot for an index, the given numbers, or 1/num_classes for None.

    Raises:
        ValueError: no such class, or a generator without classes was given a label.
    """
    if label is None:
        return torch.full((num_classes,), 1 / max(1, num_classes))
    if num_classes == 0:
        raise ValueError(f"this generator has no classes, got label={label!r}: leave it out")
    if isinstance(label, int):
        if not 0 <= label < num_classes:
            raise ValueError(f"label must lie in 0 … {num_classes - 1}, got {label}")
        return torch.zeros(num_classes).index_fill(0, torch.tensor(label), 1)  # not a row of eye: classes² numbers
    vector = torch.as_tensor(label, dtype=torch.float64)
    if vector.shape != (num_classes,) or not vector.isfinite().all():
        raise ValueError(f"label must be an index or {num_classes} finite numbers, got {label!r}")
    return vector


class AddFixed(nn.Module):
    """Prior: every sample gets the same tensor (d,), a label or a class embedding, as state[name] (B, d)."""

    def __init__(self, name: str, value: Tensor):
        super().__init__()
        self.name = name
        self.register_buffer("value", value)

    def forward(self, state: State) -> State:
        batch = len(next(iter(state.values())))
        return {**state, self.name: self.value.repeat(batch, 1)}
