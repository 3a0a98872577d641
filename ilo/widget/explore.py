"""Look around in a generator: latents, what lies between two, and what lies beside its range at each layer."""

import ipywidgets
import torch
from torch import Tensor

from ilo.arithmetic import repeatable
from ilo.checks import check_kind, check_layer, check_number, check_probability
from ilo.generators.base import Generator, State
from ilo.rng import normal
from ilo.widget.pictures import Panel


@torch.no_grad()
def images_at(
    G: Generator,
    seed: int = 0,
    *,
    towards: int = 1,
    way: float = 0.0,
    scale: float = 1.0,
    layer: int = 1,
    radius: float = 0.0,
    direction: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return an image of the generator's own, and one that deviates from it at a layer, (1, C, H, W) each.

    Args:
        seed, towards, way: the latent is cos(t)·a + sin(t)·b with t = way·π/2, way in [0, 1]: a and b as drawn by the
            two seeds, and in between as likely as they.
        scale: factor of the latent, at least 0: below 1 nearer the mean image ("truncation").
        layer: 0 … num_layers − 1, to whose input the deviation is added.
        radius: its l1 norm, of all variables there together, at least 0; direction: the seed that draws it.
    """
    check_kind(G, Generator, "G")
    check_layer(layer, G.num_layers - 1)
    radius, scale = check_number(radius, "radius", 0), check_number(scale, "scale", 0)
    if way not in (0, 1):
        check_probability(way, "way")
    angle = torch.tensor(way * torch.pi / 2, dtype=torch.float64)
    near, far = (G.sample(1, s) for s in (seed, towards))
    weights = (1.0, 0.0) if way == 0 else (0.0, 1.0) if way == 1 else (angle.cos().item(), angle.sin().item())
    with repeatable():
        latent = {**near, **{n: scale * (weights[0] * near[n] + weights[1] * far[n]) for n in G.variables(near)}}
        state = G.run(latent, 0, layer)
        own = G(state, layer)
        return own, own if radius == 0 else G(_beside(G, state, radius, direction), layer)


def _beside(G: Generator, state: State, radius: float, direction: int) -> State:
    names = G.variables(state)
    sizes = [state[name].numel() for name in names]
    like = state[names[0]]
    step = normal(direction, 1, (sum(sizes),), purpose="probe", dtype=like.dtype, device=like.device)[0]
    parts = (radius * step / step.abs().sum()).split(sizes)
    moved = {name: state[name] + part.view_as(state[name]) for name, part in zip(names, parts, strict=True)}
    return {**state, **moved}


class Explore:
    """Sliders and two images: one of the generator's own, and one that deviates from it at a layer (`images_at`).

    The last line of a cell shows it. `set(seed=3, way=0.5, …)` moves the sliders; `images` are what is shown.
    """

    def __init__(self, G: Generator):
        self.G = check_kind(G, Generator, "G")
        last = G.num_layers - 1
        self.controls = {
            "seed": ipywidgets.BoundedIntText(0, min=0, max=2**31, description="Seed"),
            "towards": ipywidgets.BoundedIntText(1, min=0, max=2**31, description="To seed"),
            "way": ipywidgets.FloatSlider(0.0, min=0, max=1, step=0.01, description="Way"),
            "scale": ipywidgets.FloatSlider(1.0, min=0, max=2, step=0.05, description="Scale"),
            "layer": ipywidgets.IntSlider(min(1, last), min=0, max=last, description="At layer"),
            "radius": ipywidgets.FloatSlider(
                0.0, min=0, max=10_000, step=50, readout_format=".0f", description="Radius"
            ),
            "direction": ipywidgets.BoundedIntText(0, min=0, max=2**31, description="Direction"),
        }
        self.panels = [Panel("Of the generator"), Panel("Beside it")]
        self.status = ipywidgets.HTML("radius: the l1 norm of what is added to the layer's input")
        choices = ipywidgets.VBox([*self.controls.values(), self.status])
        self.box = ipywidgets.HBox([choices, *(p.box for p in self.panels)], layout={"flex_flow": "row wrap"})
        for control in self.controls.values():
            control.observe(self._show, "value")
        self._show()

    def _repr_mimebundle_(self, **kwargs):
        shown = self.box._repr_mimebundle_(**kwargs)
        return shown and {**shown, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Explore({self.G.name}, {', '.join(f'{n}={c.value:g}' for n, c in self.controls.items())})"

    def set(self, **choices) -> None:
        """Move controls by the arguments of `images_at`; ValueError beyond their bounds."""
        if unknown := set(choices) - set(self.controls):
            raise TypeError(f"unknown settings {', '.join(sorted(unknown))}: choose from {', '.join(self.controls)}")
        for name, value in choices.items():
            control = self.controls[name]
            if not control.min <= value <= control.max:
                raise ValueError(f"{name} must lie in {control.min} … {control.max}, got {value!r}")
            control.value = value

    def _show(self, _: object = None) -> None:
        self.images = images_at(self.G, **{name: control.value for name, control in self.controls.items()})
        for panel, image in zip(self.panels, self.images, strict=True):
            panel.show(image)
