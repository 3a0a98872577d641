"""Restarts and samples: several copies of a batch of problems, laid out along the one batch axis."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Copies:
    """`count` copies of a batch of `problems`, copy by copy: row c·problems + b is copy c of problem b."""

    count: int
    problems: int

    def repeat(self, x: Tensor) -> Tensor:
        """The same for every copy: (problems, ...) -> (count · problems, ...)."""
        return x.repeat(self.count, *[1] * (x.ndim - 1))

    def split(self, x: Tensor) -> Tensor:
        """Give the copies an axis of their own: (count · problems, ...) -> (count, problems, ...)."""
        return x.unflatten(0, (self.count, self.problems))

    def pick(self, which: Tensor) -> Tensor:
        """Rows (problems,) of copy which[b] of each problem b."""
        return which * self.problems + torch.arange(self.problems, device=which.device)
