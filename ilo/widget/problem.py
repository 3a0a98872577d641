"""What a person chooses in the widget, as measurements and a call of `ilo.recover`. No browser is needed here."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ilo import operators
from ilo.auto.plan import Auto, plan_for
from ilo.baselines import release
from ilo.checks import check_choice, check_count, check_fraction, check_layer, check_number, check_positive
from ilo.generators.base import Generator
from ilo.operators.tasks import TASKS
from ilo.recovery import recover
from ilo.solver.linear_start import linear_start
from ilo.solver.loop import Step
from ilo.solver.result import Result
from ilo.solver.rounds import SearchRound, with_share
from ilo.solver.schedules import latent_rounds, paper_rounds, release_rounds, whitened_rounds

PAINTED = "paint"  # the task that has no operator of its own: what was painted is missing
AUTO = "ILO auto"
# The names of `ilo.study.METHODS` that search the generator in rounds that are given.
ROUNDS = {
    "ILO": paper_rounds,
    "ILO (whitened)": whitened_rounds,
    "ILO (release)": release_rounds,
    "CSGM": latent_rounds,
}
FROM_LINEAR = ("ILO", "CSGM")  # they begin at `ilo.linear_start`
RESTARTS = 4


@dataclass(frozen=True)
class Settings:
    """What is chosen beside photo and mask.

    Args:
        task: "paint", or a key of `ilo.operators.tasks.TASKS`.
        level: of the task (its fraction, factor, sigma or noise); None: its default. Of "paint" there is none.
        method: "ILO auto" or a key of `ROUNDS`.
        layer: the deepest layer to search, of those that the method searches; None: all. "ILO auto" takes none.
        radius: of the l1 balls, where the method has balls of one radius, else it takes none; None: the method's own.
        noise: standard deviation of the noise added, of values in [−1, 1], which "ILO auto" is told; the task
            "denoise" adds its level.
        share: of the method's steps, or of auto's budget, in (0, 1].
        seed: of the task's draws, the noise and the search.
    """

    task: str = PAINTED
    level: float | None = None
    method: str = AUTO
    layer: int | None = None
    radius: float | None = None
    noise: float = 0.02
    share: float = 1.0
    seed: int = 0

    def __post_init__(self):
        check_choice(self.task, (PAINTED, *TASKS), "task")
        check_choice(self.method, (AUTO, *ROUNDS), "method")
        check_number(self.noise, "noise", 0)
        check_fraction(self.share, "share")
        check_count(self.seed, "seed", least=0)
        if self.radius is not None:
            check_positive(self.radius, "radius")
        if self.method == AUTO and (self.layer is not None or self.radius is not None):
            raise ValueError("ILO auto chooses layer and radius itself: leave them None, or take another method")

    @property
    def added_noise(self) -> float:
        """The noise that is added to the measurements."""
        is_noise = self.task != PAINTED and TASKS[self.task].level == "noise"
        return self.noise if not is_noise else TASKS[self.task].default if self.level is None else self.level


@dataclass(frozen=True)
class Problem:
    """A: the operator. y: measurements (1, …). truth: (1, C, H, W) in [−1, 1], which no search sees."""

    A: operators.LinearOperator
    y: Tensor
    truth: Tensor


def stroke(missing: Tensor, points: Sequence[tuple[float, float]], brush: float, erase: bool = False) -> Tensor:
    """Return the mask with a brush drawn along `points`: the same pixels that the mouse paints in the browser.

    Args:
        missing: (H, W), bool: True where the image is missing.
        points: (x, y) in pixels of the image, from its upper left corner; a single point is a dot.
        brush: radius in pixels, more than 0: a pixel is painted where its centre is within it.
        erase: what the brush touches is seen again.
    """
    brush = check_positive(brush, "brush")
    if len(points) == 0:
        raise ValueError("a stroke needs at least one point (x, y)")
    y, x = np.indices(missing.shape) + 0.5  # of the pixels' centres
    touched = np.zeros(tuple(missing.shape), dtype=bool)
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[-1]], strict=True):
        dx, dy = bx - ax, by - ay
        along = ((x - ax) * dx + (y - ay) * dy) / ((dx * dx + dy * dy) or 1)
        t = np.clip(along, 0, 1)
        touched |= (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2 <= brush * brush
    touched = torch.from_numpy(touched).to(missing.device)
    return missing & ~touched if erase else missing | touched


def mask_of(painted: bytes, height: int, width: int) -> Tensor:
    """Return the mask, (H, W) bool, that the canvas sent: a byte a pixel, row by row, 0 seen and 1 missing.

    ValueError for anything else.
    """
    values = np.frombuffer(painted, dtype=np.uint8)
    if len(values) != height * width or not set(np.unique(values)) <= {0, 1}:
        raise ValueError(f"a mask is {height}·{width} bytes of 0 or 1, got {len(values)} bytes")
    return torch.from_numpy(values.reshape(height, width).astype(bool))


def bytes_of(missing: Tensor) -> bytes:
    """The mask as the canvas takes it: see `mask_of`."""
    return missing.to(torch.uint8).cpu().numpy().tobytes()


def measured(photo: Tensor, missing: Tensor, settings: Settings) -> Problem:
    """Measure the photo, (1, C, H, W) in [−1, 1]. ValueError where nothing is missing of a painted one, or all is."""
    if settings.task != PAINTED:
        A = TASKS[settings.task].operator(settings.level)(tuple(photo.shape[1:]), rng=settings.seed)
    elif not missing.any():
        raise ValueError("nothing is painted, so nothing is missing: paint over what is to be recovered")
    elif missing.all():
        raise ValueError("all is painted, so nothing is seen: erase some of it")
    else:
        A = operators.Inpainting(~missing, channels=photo.shape[1])
    y = operators.measure(A, photo, noise=settings.added_noise, rng=settings.seed)
    return Problem(A, y, photo)


def rounds_of(G: Generator, settings: Settings) -> list[SearchRound]:
    """The rounds of a method that is not auto, to the chosen layer, with the chosen radius and share of the steps."""
    rounds = ROUNDS[settings.method](G)
    if settings.layer is not None:
        first, last = rounds[0].layer, rounds[-1].layer
        check_layer(settings.layer, last, f"the deepest layer of {settings.method}", first)
        rounds = [r for r in rounds if r.layer <= settings.layer]
    if settings.radius is not None:
        rounds = [replace(r, radius=settings.radius) if isinstance(r.radius, float) else r for r in rounds]
    return with_share(rounds, settings.share)


def auto_of(settings: Settings) -> Auto:
    """The settings of the automatic search."""
    budget = max(1, round(settings.share * Auto.budget))
    return Auto(budget=budget, noise=settings.added_noise)


def steps_of(G: Generator, settings: Settings) -> int:
    """How many steps the search will take: what a progress bar counts to."""
    if settings.method != AUTO:
        return sum(r.steps for r in rounds_of(G, settings))
    auto = auto_of(settings)
    plan = plan_for(G).within(auto.budget, auto.samples)
    return sum(r.steps for r in (*plan.rounds(), *plan.finish))


def solve(
    G: Generator, problem: Problem, settings: Settings, callback: Callable[[Step], object] | None = None
) -> Result:
    """Recover the image as the settings say: the call of `ilo.recover` that a person would write."""
    A, y = problem.A.to(G.device), problem.y.to(G.device, G.dtype)
    common = {"rng": settings.seed, "callback": callback, "progress": False}
    if settings.method == AUTO:
        return recover(G, A, y, rounds=auto_of(settings), **common)
    rounds = rounds_of(G, settings)
    if settings.method == "ILO (release)":
        return release(G, A, y, rounds=rounds, restarts=RESTARTS, **common)
    if settings.method not in FROM_LINEAR:
        return recover(G, A, y, rounds=rounds, restarts=RESTARTS, **common)
    start = linear_start(G, A, y, restarts=RESTARTS, rng=settings.seed, noise=settings.added_noise)
    return recover(G, A, y, rounds=rounds, start=start, restarts=RESTARTS, **common)


class Recovery:
    """A recovery in a thread of its own, which can be watched and stopped.

    watch: called in that thread at every step with the share that is done, in [0, 1], and the best image of the step,
        (1, C, H, W). done: called there at the end with the recovery, whose `result` or `error` is set.
    """

    def __init__(
        self,
        G: Generator,
        problem: Problem,
        settings: Settings,
        watch: Callable[[float, Tensor], None],
        done: Callable[["Recovery"], None],
    ):
        self.problem, self.settings = problem, settings
        self.result: Result | None = None
        self.error: Exception | None = None
        self._G, self._watch, self._done = G, watch, done
        self._stop = threading.Event()
        self._taken, self._total = 0, steps_of(G, settings)  # what cannot be run is said before there is a thread
        self._thread = threading.Thread(target=self._run, name="ilo recovery", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ask it to end at its next step, with what it has found by then."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> Result:
        """Return the result when there is one; raise what went wrong. TimeoutError after `timeout` seconds."""
        self._thread.join(timeout)
        if self.is_running:
            raise TimeoutError(f"the recovery goes on after {timeout} s")
        if self.error is not None:
            raise self.error
        return self.result

    def _run(self) -> None:
        try:
            self.result = solve(self._G, self.problem, self.settings, self._look)
        except Exception as error:  # whatever it is, the person at the widget is told
            self.error = error
        self._done(self)

    def _look(self, step: Step) -> bool:
        self._taken += step.step > 0
        best = step.objective.nan_to_num(nan=torch.inf).argmin()
        self._watch(min(1.0, self._taken / self._total), step.images[best : best + 1])
        return self._stop.is_set()
