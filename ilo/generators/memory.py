"""How much memory a search will take, and two ways to take less."""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from ilo.generators.base import Generator, State


def peak_memory(G: Generator, batch: int = 1, start: int = 0) -> int:
    """Bytes that one gradient step of a search at layer `start` needs at its peak, beside the generator's own weights.

    Nothing is computed: the forward and the backward pass run on tensors without content, whose lives are watched.
    Counted are the state, its gradient, and everything that layers and autograd keep meanwhile; not counted are the
    optimiser's two copies of the variables, the objective, and workspace of the convolution library, which depends on
    the processor: a process on a CPU took from a third more to twice as much.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        watch = _Watch([fake.from_tensor(t).untyped_storage() for t in (*G.parameters(), *G.buffers())])
        state = G.sample(1, 0)
        for layer in G.layers[:start]:
            state = layer(state)
        with watch:
            state = {name: t.new_empty(batch, *t.shape[1:]).requires_grad_() for name, t in state.items()}
            G(state, start).square().sum().backward()
    return watch.peak


def economical(G: Generator, *, checkpointing: bool = True, half: bool = False) -> Generator:
    """The same generator, sharing its weights, that takes less memory in a search.

    Args:
        checkpointing: keep only what passes between layers, and compute the rest again in the backward pass
            (Chen et al., 2016). The gradient is the same; a step takes about a third longer. StyleGAN2-1024: 916 MiB
            instead of 1055.
        half: convolutions and matrix products in bfloat16 (torch.autocast), while what passes between layers keeps its
            dtype. Images then differ by about 1 % of their standard deviation (root mean square). StyleGAN2-1024:
            657 MiB, and 532 with checkpointing.
    """
    return G.with_layers([_Economical(layer, checkpointing, half) for layer in G.layers])


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
