"""What a recovery returns; it saves to one file, reloads, and renders the same image again."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.files import written_atomically
from ilo.generators.base import Generator, State

FORMAT = "ilo-result-1"
OF_AUTO = ("sharp", "samples", "spread")  # tensors of rounds="auto" only
HISTORY = ("round", "layer", "step", "restart", "problem", "objective", "lr", "seconds")


@dataclass(frozen=True)
class RoundResult:
    """The best iterates at the end of one round.

    layer: the layer searched. state: its input, (B, ...) each. images: (B, C, H, W) in [−1, 1].
    objective: (B,). restart: (B,), which starting latent the problem went on with.
    """

    layer: int
    state: State
    images: Tensor
    objective: Tensor
    restart: Tensor


@dataclass(frozen=True)
class Result:
    """What was found for each problem: of rounds that were given, the best iterate over all of them.

    images: (B, C, H, W) in [−1, 1].
    state: the input of layer `layer` that renders them: ``G(result.state, result.layer)``.
    objective: (B,), the objective's value there (without the rounds' penalties).
    rounds: one `RoundResult` a round. (A reloaded result holds none: they are not saved.)
    history: one row a step, restart and problem: round, layer, step, restart, problem, objective, lr, seconds
        (wall time since the round began; on a GPU, until the step was queued, not done).
    status: one word a problem: "converged"; "improving" (more steps would still help: the last tenth of the last
        round lowered the objective by more than 5 %); "stopped" (by the callback); "diverged" (no finite value).
    parameters: what the recovery was called with, in words, the revision and the versions.

    Of `rounds="auto"` only (None otherwise); there `images` is a mean that no state of a layer renders, so `state`
    holds the images themselves, and `rounds` is empty. `history` has a row for each solution too, as `restart`, and
    ends with the search for `sharp`; with `Auto(refit=True)` it is that of the second half. `status` is of the
    solutions in the last round before that: "improving" if half of them are, "diverged" if all are.

    tries: one row a problem and setting: layer, radius, step (the iterate), scale_over_noise (of the deviation on the
        image), held_out_mse, chosen. (Not saved.)
    sharp: (B, C, H, W), one solution in place of the mean: the better picture (LPIPS), and the worse estimate (PSNR).
    samples: (draws, B, C, H, W), images consistent with the measurements.
    spread: (B, C, H, W), standard deviation of the error that the samples, and what was held out, lead to expect.
    """

    images: Tensor
    state: State
    layer: int
    objective: Tensor
    rounds: tuple[RoundResult, ...]
    history: pd.DataFrame
    status: list[str]
    parameters: dict[str, Any]
    tries: pd.DataFrame | None = None
    sharp: Tensor | None = None
    samples: Tensor | None = None
    spread: Tensor | None = None

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (low, high), (B, C, H, W) each in [−1, 1]: between them a pixel's truth lies with probability `level`.

        images ± z·spread, z the normal quantile of `level`. How often the truth lies there is measured in
        notebooks/experiments/12_auto.ipynb; less often where all solutions make the same mistake, above all in a large
        region without measurements, as what is held out lies outside it.

        ValueError without a spread, or for a level outside (0, 1).
        """
        if self.spread is None:
            raise ValueError('only recover(..., rounds="auto") estimates a spread')
        if not 0 < level < 1:
            raise ValueError(f"level is a probability between 0 and 1, got {level}")
        return bounds(self.images, self.spread, level)

    @torch.no_grad()
    def render(self, G: Generator) -> Tensor:
        """Render the images (B, C, H, W) from the state again: bit for bit on one machine."""
        with repeatable():
            return G({name: t.to(G.device, G.dtype) for name, t in self.state.items()}, self.layer)

    def save(self, path: str | Path) -> Path:
        """Write all but `rounds` and `tries` to one safetensors file, atomically."""
        path = Path(path)
        tensors = {f"state.{name}": t.detach().cpu().contiguous() for name, t in self.state.items()}
        tensors["images"] = self.images.detach().cpu().contiguous()
        tensors["objective"] = self.objective.detach().cpu()
        for name in OF_AUTO:
            if (tensor := getattr(self, name)) is not None:
                tensors[name] = tensor.detach().cpu().contiguous()
        tensors |= {f"history.{c}": torch.from_numpy(self.history[c].to_numpy(copy=True)) for c in self.history}
        metadata = {
            "format": FORMAT,
            "layer": str(self.layer),
            "status": json.dumps(self.status),
            "parameters": json.dumps(self.parameters, default=repr),
        }
        with written_atomically(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
        return path


def bounds(images: Tensor, spread: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """images ± z·spread, cut to [−1, 1], z the normal quantile of `level` in (0, 1); all of one shape."""
    z = math.sqrt(2) * torch.erfinv(torch.tensor(level, dtype=torch.float64)).item()
    return (images - z * spread).clamp(-1, 1), (images + z * spread).clamp(-1, 1)


def load_result(path: str | Path) -> Result:
    """Read what `Result.save` wrote. ValueError when the file is not one."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no saved result at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a saved result: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but not a result saved by ilo")
    return Result(
        images=tensors["images"],
        state={n.removeprefix("state."): t for n, t in tensors.items() if n.startswith("state.")},
        layer=int(metadata["layer"]),
        objective=tensors["objective"],
        rounds=(),
        history=pd.DataFrame({c: tensors[f"history.{c}"].numpy() for c in HISTORY}),
        status=json.loads(metadata["status"]),
        parameters=json.loads(metadata["parameters"]),
        **{name: tensors.get(name) for name in OF_AUTO},
    )


def history_frame(traces: list[dict], problems: int) -> pd.DataFrame:
    """Lay out the rounds' values (steps + 1, copies · problems) as one row a step, restart and problem."""
    frames = []
    for trace in traces:
        values = trace["values"].double().cpu().numpy()  # (steps + 1, copies · B)
        steps, samples = values.shape
        frames.append(
            pd.DataFrame(
                {
                    "round": trace["round"],
                    "layer": trace["layer"],
                    "step": [s for s in range(steps) for _ in range(samples)],
                    "restart": [i // problems for i in range(samples)] * steps,
                    "problem": [i % problems for i in range(samples)] * steps,
                    "objective": values.ravel(),
                    "lr": [rate for rate in trace["lr"] for _ in range(samples)],
                    "seconds": [second for second in trace["seconds"] for _ in range(samples)],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
