"""A generator is a list of layers: G = G_l ∘ … ∘ G_1 (Intermediate Layer Optimization, ICML 2021).

A *state* is the whole input of the layers still to come: a dict of named tensors, batch first. A layer maps a
state to the next. For a plain network the state is ``{"features": (B, ...)}``; other generators carry more (styles,
a running RGB image, noise maps), so that cutting the network at any layer loses nothing. The state after the last
layer is ``{"image": (B, C, H, W)}`` with values in [−1, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral

import torch
from torch import Tensor, nn

from ilo.checks import check_count, check_kind, check_layer, check_state, shown
from ilo.rng import Rng, normal

State = dict[str, Tensor]


class FeatureLayer(nn.Module):
    """A layer whose state is a single tensor: `module` applied to state[source], stored under `target`."""

    def __init__(self, module: nn.Module, *, source: str = "features", target: str = "features"):
        super().__init__()
        self.module, self.source, self.target = module, source, target

    def forward(self, state: Mapping[str, Tensor]) -> State:
        if self.source not in state:
            raise ValueError(f"this layer takes a state that holds {self.source!r}, got {sorted(state)}")
        return {self.target: self.module(state[self.source])}


class Generator(nn.Module):
    """A frozen, layered generator: what `ilo.recover` searches.

    Args:
        layers: the layers G_1, …, G_l in order, each a module from state to state; the last one's state holds
            "image", of shape (B, C, H, W) with values in [−1, 1].
        latent_shapes: name → shape (without batch) of the standard normal tensors that `sample` draws.
        image_shape: (C, H, W).
        name: what results and figures call it.
        variables: names of the tensors that a round optimises unless told otherwise; those that the state at
            the round's layer holds are used. None: all of them.
        prior: maps the normal draws of `latent_shapes` to the state at layer 0, for generators that search a space
            which is not normal, or need a tensor that is not drawn (a class embedding). None: the draws are the state.

    A generator is frozen as it is built: parameters ask for no gradient, and normalisation uses stored statistics.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        *,
        latent_shapes: Mapping[str, Sequence[int]],
        image_shape: Sequence[int],
        name: str = "generator",
        variables: Sequence[str] | None = None,
        prior: nn.Module | None = None,
    ):
        super().__init__()
        if not layers:
            raise ValueError("a generator needs at least one layer")
        self.layers = nn.ModuleList(layers)
        self.latent_shapes = {key: tuple(shape) for key, shape in latent_shapes.items()}
        self.image_shape = tuple(image_shape)
        self.name = name
        self._variables = None if variables is None else tuple(variables)
        self.prior = prior
        self.eval().requires_grad_(False)

    @classmethod
    def from_sequential(
        cls, model: nn.Sequential, cuts: Sequence[int], *, latent_shape: Sequence[int], name: str = "sequential"
    ) -> "Generator":
        """Make a generator of any `nn.Sequential` that maps latents (B, *latent_shape) to images in [−1, 1].

        `cuts` are the indices of `model` at which a new layer starts, increasing, without 0: cuts=(3, 6) makes
        the layers model[0:3], model[3:6] and model[6:]. The image shape is found by running one sample. The modules
        are used, not copied: they are frozen, and activations that work in place no longer do, since a state that a
        cut hands out must not change.

        Raises:
            ValueError: cuts out of order, or a model whose output is not a batch of images near [−1, 1].
        """
        check_kind(model, nn.Sequential, "model")
        latent_shape = _sizes(latent_shape, "latent_shape")
        if not isinstance(cuts, Sequence) or not all(isinstance(cut, Integral) for cut in cuts):
            raise TypeError(f"cuts must be a sequence of indices, got {shown(cuts)}")
        edges = [0, *cuts, len(model)]
        if any(a >= b for a, b in pairwise(edges)):
            raise ValueError(f"cuts must increase strictly between 0 and {len(model)}, got {tuple(cuts)}")
        for module in model.modules():
            if getattr(module, "inplace", False):
                module.inplace = False
        for name, held in (*model.named_parameters(), *model.named_buffers()):
            if held.is_floating_point() and not held.isfinite().all():
                raise ValueError(f"the model's {name} holds NaN or infinite values")
        parts = [model[a:b] for a, b in pairwise(edges)]
        layers = [FeatureLayer(part) for part in parts[:-1]] + [FeatureLayer(parts[-1], target="image")]
        model.eval()
        probe = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        with torch.no_grad():
            image = model(normal(0, 1, latent_shape, purpose="probe", dtype=probe.dtype, device=probe.device))
        if not isinstance(image, Tensor) or image.ndim != 4 or not image.isfinite().all():
            image = image if isinstance(image, Tensor) else torch.empty(0)
            raise ValueError(f"the model must give finite images (B, C, H, W), got shape {tuple(image.shape)}")
        if image.abs().max() > 2:
            raise ValueError(
                f"the model gives values up to {image.abs().max():.3g}, not images in [−1, 1]: append the map that "
                "brings them there, such as nn.Tanh()"
            )
        return cls(layers, latent_shapes={"features": latent_shape}, image_shape=image.shape[1:], name=name)

    def with_layers(self, layers: Sequence[nn.Module]) -> "Generator":
        """A generator of these layers that is otherwise this one."""
        return Generator(
            layers,
            latent_shapes=self.latent_shapes,
            image_shape=self.image_shape,
            name=self.name,
            variables=self._variables,
            prior=self.prior,
        )

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def device(self) -> torch.device:
        return self._like.device

    @property
    def dtype(self) -> torch.dtype:
        return self._like.dtype

    @property
    def _like(self) -> Tensor:
        tensors = (t for t in (*self.parameters(), *self.buffers()) if t.is_floating_point())
        return next(tensors, torch.empty(0))

    @torch.no_grad()
    def sample(self, n: int, rng: Rng, purpose: str = "sample") -> State:
        """Draw `n` states at layer 0. Sample i draws the same numbers whatever `n`, device and dtype.

        What is drawn for another `purpose` (`ilo.rng.PURPOSES`) with the same seed is independent of it: a search
        starts from states drawn to "start", so that a truth drawn with its seed is not among them.
        """
        n = check_count(n, "n")
        widths = [torch.Size(shape).numel() for shape in self.latent_shapes.values()]
        flat = normal(rng, n, (sum(widths),), purpose=purpose, dtype=self.dtype, device=self.device)  # (n, all latents)
        parts = flat.split(widths, dim=1)
        draws = {
            key: part.reshape(n, *shape) for part, (key, shape) in zip(parts, self.latent_shapes.items(), strict=True)
        }
        return draws if self.prior is None else self.prior(draws)

    def variables(self, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Names of the tensors of `state` that a round optimises by default."""
        if self._variables is None:
            return tuple(state)
        return tuple(key for key in self._variables if key in state)

    def run(self, state: Mapping[str, Tensor] | Tensor, start: int = 0, stop: int | None = None) -> State:
        """Run layers start, …, stop − 1 on `state`, the input of layer `start`; return the input of layer `stop`.

        A bare tensor stands for ``{"features": tensor}``. `stop` defaults to the last layer's end.
        """
        start, stop = self.span(start, stop)
        state = {"features": state} if isinstance(state, Tensor) else dict(check_state(state))
        if start == 0 and self.prior is None:
            self._check_latents(state)
        for layer in self.layers[start:stop]:
            state = layer(state)
        return state

    def _check_latents(self, state: State) -> None:
        for name, shape in self.latent_shapes.items():
            if name in state and tuple(state[name].shape[1:]) != shape:
                raise ValueError(
                    f"the state's {name} must have the shape {('B', *shape)}, got {tuple(state[name].shape)}"
                )

    def span(self, start: int, stop: int | None) -> tuple[int, int]:
        """Return layers start, …, stop − 1 as two ints; ValueError unless 0 ≤ start ≤ stop ≤ num_layers."""
        stop = self.num_layers if stop is None else stop
        whole = all(isinstance(i, Integral) and not isinstance(i, bool) for i in (start, stop))
        if not (whole and 0 <= start <= stop <= self.num_layers):
            raise ValueError(
                f"layers must satisfy 0 <= start <= stop <= {self.num_layers}, got start={shown(start)}, "
                f"stop={shown(stop)}"
            )
        return int(start), int(stop)

    def forward(self, state: Mapping[str, Tensor] | Tensor, start: int = 0) -> Tensor:
        """Return the images (B, C, H, W), in [−1, 1], that layers `start` to the last make of `state`."""
        return self.run(state, start)["image"]

    def split(self, i: int) -> tuple[Callable[..., State], Callable[..., Tensor]]:
        """Cut before layer `i`: (head, tail) with tail(head(state)) == G(state) bit for bit."""
        check_layer(i, self.num_layers, "the layer")

        def head(state: Mapping[str, Tensor] | Tensor) -> State:
            return self.run(state, 0, i)

        def tail(state: Mapping[str, Tensor] | Tensor) -> Tensor:
            return self.forward(state, i)

        return head, tail

    def extra_repr(self) -> str:
        return f"{self.name!r}, image_shape={self.image_shape}, num_layers={self.num_layers}"


def _sizes(shape: Sequence[int], what: str) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise TypeError(f"{what} must be a sequence of sizes, such as (100,), got {shown(shape)}")
    return tuple(check_count(n, f"each of {what}") for n in shape)
