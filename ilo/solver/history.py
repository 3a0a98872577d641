"""What the loop saw, as a table and as one word per problem."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from ilo.solver.loop import Trace


def history_frame(traces: Sequence[Trace]) -> pd.DataFrame:
    """One row per round, step, restart and problem, as `Result.history` explains them."""
    return pd.concat([_rows(index, trace) for index, trace in enumerate(traces)], ignore_index=True)


def _rows(index: int, trace: Trace) -> pd.DataFrame:
    values = trace.values.double().cpu().numpy()  # (steps + 1, copies · problems)
    steps, rows = values.shape
    row = np.arange(rows)
    return pd.DataFrame(
        {
            "round": index,
            "layer": trace.layer,
            "step": np.repeat(np.arange(steps), rows),
            "restart": np.tile(row // trace.copies.problems, steps),
            "problem": np.tile(row % trace.copies.problems, steps),
            "objective": values.ravel(),
            "lr": np.repeat(trace.lr, rows),
            "seconds": np.repeat(trace.seconds, rows),
        }
    )


def status_of_rows(trace: Trace, stopped: bool) -> list[str]:
    """One word for each row of a round, as `Result.status` explains them."""
    return _status(trace, trace.value.double(), _early(trace), stopped)


def status_of_problems(trace: Trace, best: torch.Tensor, stopped: bool) -> list[str]:
    """One word for each problem, whose best objective over all rounds is `best`, (B,), after the last round."""
    return _status(trace, best.double(), trace.copies.split(_early(trace)).amin(0), stopped)


def _early(trace: Trace) -> torch.Tensor:
    """(rows,): the least objective in the first nine tenths of the round."""
    values = trace.values.double()  # (steps + 1, rows)
    step = torch.arange(len(values), device=values.device)
    return values[step <= 0.9 * (len(values) - 1)].nan_to_num(nan=torch.inf, posinf=torch.inf).amin(0)


def _status(trace: Trace, best: torch.Tensor, early: torch.Tensor, stopped: bool) -> list[str]:
    words = []
    for value, before in zip(best.tolist(), early.tolist(), strict=True):
        if not value < float("inf"):
            words.append("diverged")
        elif stopped:
            words.append("stopped")
        else:
            words.append("improving" if before - value > 0.05 * abs(before) else "converged")
    return words
