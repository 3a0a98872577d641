"""L-BFGS for a batch of problems that do not know of each other: one history and one line search a sample.

A latent has a hundred coordinates, and the objective is smooth nearly everywhere in them: there the curvature that a
quasi-Newton method gathers is worth more than any learning rate of Adam's.

Sources: the two-loop recursion and the scaling of its first matrix are Nocedal and Wright, "Numerical Optimization"
(2nd edition, 2006), algorithms 7.4 and 7.5 and equation 7.20. The line search, which brackets a step by the two
conditions of Wolfe and bisects, is Lewis and Overton's, "Nonsmooth optimization via quasi-Newton methods" (Mathematical
Programming 141, 2013), algorithm 2.6: it asks for no second derivative where a ReLU has none. After a step that is
too long, the minimum of the parabola through what is known takes the place of the bisection's middle.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

HISTORY = 50
DECREASE, CURVATURE = 1e-4, 0.9  # c_1 and c_2 of the conditions of Wolfe: Nocedal and Wright, §3.1
TRIALS = 12  # evaluations that one line search may take before the sample begins anew along its gradient


def lbfgs(variables: Sequence[Tensor], lr: float) -> "Lbfgs":
    """L-BFGS: `lr` is how far the very first trial moves the coordinates, in root mean square; later ones find out."""
    return Lbfgs(variables, lr)


class Lbfgs(torch.optim.Optimizer):
    """L-BFGS that moves after every evaluation: a step is a trial of each sample's line search, not a whole search.

    So `n` steps cost exactly `n` evaluations of objective and gradient, as Adam's do, each sample uses all of them, and
    a sample that accepts its trial goes on while its neighbours still search. For this `step` needs the values:

        losses = objective(variables)        # (B,)
        gradients into `variable.grad`
        optimiser.step(losses.detach)        # a closure as torch's optimisers take it, but it evaluates nothing again

    What the variables hold after a step is a trial, which may be worse than the one before: keep the best iterate.
    Samples are what the variables hold along their first axis; they do not influence each other. All variables of a
    sample are searched together, as one vector. There is no projection: a variable that was moved by another hand
    between steps misleads the search.
    """

    def __init__(self, variables: Sequence[Tensor], lr: float, history: int = HISTORY):
        super().__init__(variables, {"lr": lr})
        if len(self.param_groups) != 1:
            raise ValueError("L-BFGS searches all variables together: give them as one group")
        self._variables = self.param_groups[0]["params"]
        self._history = history
        self._search: _Searches | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        """Take the losses (B,) that belong to the variables and their gradients, and move to the next trial."""
        losses = closure()
        x, gradient = _joined(self._variables), _joined([_gradient(v) for v in self._variables])
        lr = self.param_groups[0]["lr"]
        if self._search is None:
            self._search = _Searches(x, losses, gradient, self._history, lr)
        else:
            self._search.take(x, losses, gradient, lr)
        widths = [v[0].numel() for v in self._variables]
        for variable, part in zip(self._variables, self._search.trial().split(widths, dim=1), strict=True):
            variable.copy_(part.view_as(variable))
        return losses


class _Searches:
    """One line search a sample: from `start` along `direction`, whose length lies between `low` and `high`."""

    def __init__(self, x: Tensor, losses: Tensor, gradient: Tensor, history: int, lr: float):
        batch = len(x)
        self.start, self.loss, self.gradient = x, losses, gradient  # (B, d), (B,), (B, d): what was accepted last
        self.steps = x.new_zeros(history, *x.shape)  # s_i of the history, oldest first
        self.changes = x.new_zeros(history, *x.shape)  # y_i = the gradient's change over s_i
        self.weights = x.new_zeros(history, batch)  # 1/(s_i·y_i); 0: an empty place
        self.trials = torch.zeros(batch, dtype=torch.int64, device=x.device)
        self.low, self.high = torch.zeros_like(losses), torch.full_like(losses, torch.inf)
        self.direction = -gradient
        self.length = _first_length(gradient, lr)

    def trial(self) -> Tensor:
        return self.start + self.length[:, None] * self.direction

    def take(self, x: Tensor, losses: Tensor, gradient: Tensor, lr: float) -> None:
        """Judge the trial `x` of every sample; begin a new search where it is accepted, else shorten or lengthen it."""
        slope = _dot(self.gradient, self.direction)
        low_enough = losses <= self.loss + DECREASE * self.length * slope  # false for NaN
        flat_enough = _dot(gradient, self.direction) >= CURVATURE * slope
        self.trials += 1
        spent = self.trials >= TRIALS
        accepted = low_enough & (flat_enough | spent)
        self._bracket(losses, slope, low_enough)
        self._remember(x - self.start, gradient - self.gradient, accepted)
        self.start = torch.where(accepted[:, None], x, self.start)
        self.gradient = torch.where(accepted[:, None], gradient, self.gradient)
        self.loss = torch.where(accepted, losses, self.loss)
        self._begin(accepted, spent & ~accepted, lr)

    def _bracket(self, losses: Tensor, slope: Tensor, low_enough: Tensor) -> None:
        """Choose the length of the next trial of those whose trial was refused."""
        length = self.length
        self.low = torch.where(low_enough, length, self.low)
        self.high = torch.where(low_enough, self.high, length)
        middle = (self.low + self.high) / 2
        parabola = -slope * length.square() / (2 * (losses - self.loss - slope * length))
        shorter = torch.where(parabola.isfinite(), parabola.clamp(0.1 * length, 0.5 * length), 0.1 * length)
        bounded = torch.where(self.low > 0, middle, shorter)
        self.length = torch.where(self.high < torch.inf, bounded, 2 * self.low)

    def _remember(self, step: Tensor, change: Tensor, accepted: Tensor) -> None:
        """Push the pair onto the history of the samples that accepted and whose curvature along it is positive."""
        product = _dot(step, change)
        known = accepted & (product > torch.finfo(step.dtype).eps * step.norm(dim=1) * change.norm(dim=1))
        for memory, newest in ((self.steps, step), (self.changes, change), (self.weights, 1 / product)):
            pushed = torch.cat([memory[1:], newest[None]])
            memory.copy_(torch.where(known.view(-1, *[1] * (memory.ndim - 2)), pushed, memory))

    def _begin(self, accepted: Tensor, failed: Tensor, lr: float) -> None:
        """Begin a search where the last ended: along the quasi-Newton direction, or along the gradient if it failed."""
        self.weights[:, failed] = 0
        direction = -self._inverse_times(self.gradient)
        begun = accepted | failed
        plain = begun & (self.weights[-1] == 0)
        self.direction = torch.where(begun[:, None], direction, self.direction)
        self.length = torch.where(begun, torch.ones_like(self.length), self.length)
        self.length = torch.where(plain, _first_length(self.gradient, lr), self.length)
        self.low = torch.where(begun, torch.zeros_like(self.low), self.low)
        self.high = torch.where(begun, torch.full_like(self.high, torch.inf), self.high)
        self.trials[begun] = 0

    def _inverse_times(self, vector: Tensor) -> Tensor:
        """Return H·vector, (B, d), H the inverse Hessian that the history stands for: the two-loop recursion."""
        q, coefficients = vector, []
        for s, y, weight in zip(*(memory.flip(0) for memory in self._pairs()), strict=True):
            coefficients.append(weight * _dot(s, q))
            q = q - coefficients[-1][:, None] * y
        scale = 1 / (self.weights[-1] * self.changes[-1].square().sum(1))  # s·y/y·y
        q = torch.where(self.weights[-1] > 0, scale, torch.ones_like(scale))[:, None] * q
        for s, y, weight, c in zip(*self._pairs(), reversed(coefficients), strict=True):
            q = q + (c - weight * _dot(y, q))[:, None] * s
        return q

    def _pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.steps, self.changes, self.weights


def _first_length(gradient: Tensor, lr: float) -> Tensor:
    """How many gradients long a step is that moves the coordinates by `lr` in root mean square, (B,)."""
    size = gradient.square().mean(1).sqrt()
    return lr / size.clamp_min(torch.finfo(size.dtype).tiny)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)


def _gradient(variable: Tensor) -> Tensor:
    return torch.zeros_like(variable) if variable.grad is None else variable.grad


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors side by side, (B, d)."""
    return torch.cat([t.detach().flatten(1) for t in tensors], 1)
