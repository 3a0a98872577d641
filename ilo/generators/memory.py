"""How much memory a search will take, and two ways to take less."""

import math
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from ilo.checks import check_count, check_kind
from ilo.generators.base import Generator, State

# No generator here keeps more numbers per value of an image: StyleGAN3-R 4000 at 256 pixels, the others at most 1600.
MAPS = 4000


def peak_memory(G: Generator, batch: int = 1, start: int = 0) -> int:
    """Bytes that one gradient step of a search at layer `start` needs at its peak, beside the generator's own weights.

    Nothing is computed: the forward and the backward pass run on tensors without content, whose lives are watched.
    Counted are the state, its gradient, and everything that layers and autograd keep meanwhile; not counted are the
    optimiser's two copies of the variables, the objective, and workspace of the convolution library, which depends on
    the processor: a process on a CPU took from a third more to 2.2 times as much.
    """
    check_kind(G, Generator, "G")
    batch, (start, _) = check_count(batch, "batch"), G.span(start, None)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        watch = _Watch([fake.from_tensor(t).untyped_storage() for t in (*G.parameters(), *G.buffers())])
        state = G.sample(1, 0)
        for layer in G.layers[:start]:
            state = layer(state)
        with watch:
            state = {name: t.new_empty(batch, *t.shape[1:]).requires_grad_() for name, t in state.items()}
            G(state, start).square().sum().backward()
    return watch.peak


def memory_report(G: Generator, batch: int, *, large: int = 2**30, free: int | None = None) -> str:
    """Say what a search of `batch` images at once (restarts × problems) will take, and how to take less.

    Args:
        large: bytes; a search that takes less is not worth a word: "".
        free: bytes that are free on the generator's device; None: asked of the system.

    Returns:
        Sentences for a person, or "". They begin with "warning" where the search takes more than is free.
    """
    if batch * math.prod(G.image_shape) * MAPS * 4 < large:
        return ""  # without the estimate, which takes seconds
    need = peak_memory(G, batch)
    if need < large:
        return ""
    free = free_memory(G.device) if free is None else free
    size = "×".join(map(str, G.image_shape[1:]))
    text = f"this search holds about {_gib(need)} at its peak ({batch} × {size} pixels at once, beside the weights)"
    if free is not None:
        text += f"; {_gib(free)} are free on {G.device}"
    less = {"checkpointing": (True, False), "half precision": (False, True), "both": (True, True)}
    takes = (
        f"{_gib(peak_memory(economical(G, checkpointing=c, half=h), batch))} with {name}"
        for name, (c, h) in less.items()
    )
    text += f"; it would take {', '.join(takes)}, and fewer restarts take less in proportion"
    return f"warning, this may not fit: {text}" if free is not None and need > free else text


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on `device`: a GPU's own count; on Linux what the system and the container still give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        cache = next(int(s.split()[1]) for s in (group / "memory.stat").open() if s.startswith("inactive_file "))
        found.append(limit - used + cache)
    except (OSError, ValueError, StopIteration):
        pass  # another system, or no limit
    return min(found, default=None)


def economical(G: Generator, *, checkpointing: bool = True, half: bool = False) -> Generator:
    """The same generator, sharing its weights, that takes less memory in a search.

    Args:
        checkpointing: keep only what passes between layers, and compute the rest again in the backward pass
            (Chen et al., 2016). The gradient is the same; the forward pass runs twice. It saves little where the last
            layer alone sets the peak: StyleGAN2-1024 takes 793 MiB instead of 932, one of 64 pixels 51 instead of 72.
        half: convolutions and matrix products in bfloat16 (torch.autocast), while what passes between layers keeps its
            dtype. Images then differ by about 1 % of their standard deviation (root mean square). StyleGAN2-1024:
            540 MiB, and 499 with checkpointing. Try it first, unless that difference matters. On a processor that
            multiplies bfloat16 (AMX) a step of StyleGAN2-256 takes 0.4 of the time as well (benchmarks/stylegan2.py).
    """
    check_kind(G, Generator, "G")
    return G.with_layers([_Economical(layer, checkpointing, half) for layer in G.layers])


def _gib(size: int) -> str:
    return f"{size / 2**30:.2g} GiB"


class _Economical(nn.Module):
    def __init__(self, layer: nn.Module, checkpointing: bool, half: bool):
        super().__init__()
        self.layer, self.checkpointing, self.half = layer, checkpointing, half

    def forward(self, state: State) -> State:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self._run, state, use_reentrant=False, preserve_rng_state=False)
        return self._run(state)

    def _run(self, state: State) -> State:
        like = next(iter(state.values()))
        with torch.autocast(like.device.type, torch.bfloat16, enabled=self.half):
            out = self.layer(state)
        return {name: t.to(like.dtype) for name, t in out.items()}


class _Watch(TorchDispatchMode):
    """Adds up the bytes of the storages that operations make, for as long as each lives."""

    def __init__(self, known: list[torch.UntypedStorage]):
        super().__init__()
        self.now = self.peak = 0
        self._seen = weakref.WeakSet(known)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, size: int) -> None:
        self.now -= size
