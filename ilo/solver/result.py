"""What a recovery returns; it saves to one file, reloads, and renders the same image again."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.checks import check_count, check_kind, check_probability
from ilo.files import written_atomically
from ilo.generators.base import Generator, State
from ilo.solver.summary import COLUMNS, Summary

FORMAT = "ilo-result-2"
CONTIGUOUS = torch.contiguous_format
OLDER = "ilo-result-1"  # had no checksum


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
    """What was found for each problem: a `RoundsResult` or an `AutoResult`, which have more.

    images: (B, C, H, W) in [−1, 1].
    objective: (B,), the objective's value there (without the rounds' penalties).
    history: one row per step, restart and problem: round, layer, step, restart, problem, objective, lr, seconds
        (wall time since the round began; on a GPU, until the step was queued, not done).
    status: one word per problem: "converged"; "improving" (more steps would still help: the last tenth of the last
        round lowered the objective by more than 5 %); "stopped" (by the callback); "diverged" (no finite value).
    parameters: what the recovery was called with, in words, the revision and the versions.
    """

    images: Tensor
    objective: Tensor
    history: pd.DataFrame
    status: list[str]
    parameters: dict[str, Any]

    def render(self, G: Generator) -> Tensor:
        """The images (B, C, H, W) again."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Write it to one safetensors file, atomically (see the kind of result for what is left out).

        The file holds a sha256 of its contents, which `load_result` checks.
        OSError where it cannot be written; what was at `path` stays.
        """
        path = Path(path)
        # clones, because safetensors takes no two names of one memory
        tensors = {name: t.detach().cpu().clone(memory_format=CONTIGUOUS) for name, t in self._tensors().items()}
        tensors |= _columns("history", self.history)
        metadata = {
            "format": FORMAT,
            "status": json.dumps(self.status),
            "parameters": json.dumps(self.parameters, default=repr),
            **self._words(),
        }
        metadata["sha256"] = _checksum(tensors, metadata)
        with written_atomically(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
        return path

    def _tensors(self) -> dict[str, Tensor]:
        return {"images": self.images, "objective": self.objective}

    def _words(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class RoundsResult(Result):
    """Of rounds that were given: for each problem the best iterate over all of them.

    state: the input of layer `layer` that renders the images: ``G(result.state, result.layer)``.
    rounds: one `RoundResult` per round. (They are not saved: a reloaded result holds none.)
    """

    state: State
    layer: int
    rounds: tuple[RoundResult, ...]

    @torch.no_grad()
    def render(self, G: Generator) -> Tensor:
        """Render the images (B, C, H, W) from the state again: bit for bit on one machine."""
        with repeatable():
            return G({name: t.to(G.device, G.dtype) for name, t in self.state.items()}, self.layer)

    def _tensors(self) -> dict[str, Tensor]:
        return super()._tensors() | {f"state.{name}": t for name, t in self.state.items()}

    def _words(self) -> dict[str, str]:
        return {"layer": str(self.layer)}


def _forgotten() -> Iterator[Tensor]:
    raise ValueError("a reloaded result does not hold the images of the settings that were tried: search again")


@dataclass(frozen=True)
class AutoResult(Result):
    """Of `rounds="auto"`: `images` is a mean of several solutions, which no state of a layer renders.

    `history` has a row for each solution too, as `restart`, and ends with the search for `sharp`; with
    `Auto(refit=True)` it is that of the second half. `status` is of the solutions in the last round before that:
    "improving" if half of them are, "diverged" if all are.

    sharp: (B, C, H, W), one solution in place of the mean: the better picture (LPIPS), and the worse estimate (PSNR).
    samples: (draws, B, C, H, W), images consistent with the measurements.
    spread: (B, C, H, W), standard deviation of the error that the samples, and what was held out, lead to expect.
    tries: one row per problem and setting: layer, radius, step (the iterate), scale_over_noise (of the deviation on the
        image), held_out_mse, chosen.
    evidence: one row per problem, with the columns of `ilo.solver.summary.Summary`: what `summary` says.
    renders: called, it yields for each setting, in the order of `tries`, the images (B, C, H, W) that choosing it for
        all problems would have led to: for experiments that ask what an oracle would choose. (Not saved.)
    """

    sharp: Tensor
    samples: Tensor
    spread: Tensor
    tries: pd.DataFrame
    evidence: pd.DataFrame = field(default_factory=pd.DataFrame)
    renders: Callable[[], Iterator[Tensor]] = field(default=_forgotten, repr=False, compare=False)

    def render(self, G: Generator) -> Tensor:
        """The images (B, C, H, W) themselves: a mean of what `G` renders, plus a deviation of its own."""
        return self.images.clone()

    def summary(self, problem: int = 0) -> Summary:
        """What was chosen for a problem and why, and how far it is to be trusted: ``print(result.summary())``.

        ValueError: no such problem, or a result that was saved before there were summaries.
        """
        problem = check_count(problem, "problem", least=0, most=len(self.images) - 1)
        if self.evidence.empty:
            raise ValueError("this result was saved before there were summaries: search again")
        row = self.evidence.iloc[problem].to_dict()
        return Summary(status=self.status[problem], **{name: row[name] for name in COLUMNS})

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (low, high), (B, C, H, W) each in [−1, 1]: between them a pixel's truth lies with probability `level`.

        images ± z·spread, z the normal quantile of `level`. How often the truth lies there is measured in
        notebooks/experiments/12_auto.ipynb and 13_record.ipynb; less often where all solutions make the same mistake
        and nothing like what is missing can be held out, as with the colours of a grey image.

        ValueError for a level outside (0, 1).
        """
        check_probability(level, "level")
        z = math.sqrt(2) * torch.erfinv(torch.tensor(level, dtype=torch.float64)).item()
        return (self.images - z * self.spread).clamp(-1, 1), (self.images + z * self.spread).clamp(-1, 1)

    def _tensors(self) -> dict[str, Tensor]:
        own = {"sharp": self.sharp, "samples": self.samples, "spread": self.spread}
        tables = _columns("tries", self.tries) | _columns("evidence", self.evidence)
        return super()._tensors() | own | tables


def load_result(path: str | Path) -> Result:
    """Read what `Result.save` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no saved result, or a damaged one: its checksum differs, or something is missing.
    """
    path = Path(check_kind(path, (str, Path), "path"))
    if not path.is_file():
        raise FileNotFoundError(f"no saved result at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            # clones, since a file's tensors are the file: who shortens it would end this process
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a saved result: {error}") from error
    if words.get("format") not in (FORMAT, OLDER):
        raise ValueError(f"{path} is a safetensors file, but not a result saved by ilo")
    if "sha256" in words or words["format"] == FORMAT:
        told = words.pop("sha256", None)
        if _checksum(tensors, words) != told:
            raise ValueError(f"{path} is damaged: its contents are not those that were saved (their sha256 differs)")
    try:
        return _assembled(words, tensors)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is a damaged result: {error}") from error


def _assembled(words: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Result:
    """The result that a file's contents are; KeyError, TypeError or ValueError where they are none."""
    images, objective = _tensor("images", tensors), _tensor("objective", tensors)
    if images.ndim != 4 or objective.shape != images.shape[:1]:
        raise ValueError(f"images {tuple(images.shape)} do not go with an objective {tuple(objective.shape)}")
    both = {
        "images": images,
        "objective": objective,
        "history": _frame("history", tensors),
        "status": json.loads(words["status"]),
        "parameters": json.loads(words["parameters"]),
    }
    if not (isinstance(both["status"], list) and len(both["status"]) == len(images)):
        raise ValueError(f"it holds {len(images)} images, but not a status for each")
    if not isinstance(both["parameters"], dict):
        raise ValueError("its parameters are no table")
    fine = torch.tensor([word != "diverged" for word in both["status"]])
    if not (images[fine].isfinite().all() and objective[fine].isfinite().all()):
        raise ValueError("its images or objective hold NaN or infinite values, though no search diverged")
    if "sharp" in tensors:
        own = {name: _tensor(name, tensors) for name in ("sharp", "samples", "spread")}
        if {own["sharp"].shape, own["spread"].shape, own["samples"].shape[1:]} != {images.shape}:
            raise ValueError("the shapes of its sharp images, samples and spread are not those of its images")
        return AutoResult(**both, **own, tries=_frame("tries", tensors), evidence=_evidence(len(images), tensors))
    state = {n.removeprefix("state."): _tensor(n, tensors) for n in tensors if n.startswith("state.")}
    if not state or any(len(t) != len(images) for t in state.values()):
        raise ValueError("it holds no state that renders its images")
    return RoundsResult(**both, state=state, layer=check_count(int(words["layer"]), "layer", least=0), rounds=())


def _evidence(problems: int, tensors: Mapping[str, Tensor]) -> pd.DataFrame:
    """The table of that name, or none in a result that was saved before there was one."""
    if not any(name.startswith("evidence.") for name in tensors):
        return pd.DataFrame()
    found = _frame("evidence", tensors)
    if set(found) != set(COLUMNS) or len(found) != problems:
        raise ValueError("its evidence has other columns, or rows, than it should")
    return found


def _tensor(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    if name not in tensors:
        raise ValueError(f"{name} is missing")
    if not tensors[name].is_floating_point() or tensors[name].ndim == 0:
        raise ValueError(f"{name} is {tensors[name].dtype} of shape {tuple(tensors[name].shape)}")
    return tensors[name]


def _checksum(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> str:
    """The sha256 of all that a file holds: its words, and each tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(json.dumps(dict(words), sort_keys=True).encode())
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        digest.update(json.dumps([name, str(t.dtype), list(t.shape)]).encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _columns(prefix: str, table: pd.DataFrame) -> dict[str, Tensor]:
    """The columns of a table of numbers as tensors, numbered so that their order stays."""
    return {f"{prefix}.{i:02}.{c}": torch.from_numpy(table[c].to_numpy(copy=True)) for i, c in enumerate(table)}


def _frame(prefix: str, tensors: Mapping[str, Tensor]) -> pd.DataFrame:
    named = sorted(name for name in tensors if name.startswith(f"{prefix}."))
    if not named or any(tensors[name].ndim != 1 for name in named):
        raise ValueError(f"its {prefix} is no table of columns")
    return pd.DataFrame({name.split(".")[-1]: tensors[name].numpy() for name in named})
