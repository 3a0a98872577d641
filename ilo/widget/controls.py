"""The choices of `Inpaint`, as controls and as `Settings`; what a method does not take cannot be moved."""

from collections.abc import Callable
from dataclasses import fields

import ipywidgets

from ilo.generators.base import Generator
from ilo.operators.tasks import TASKS
from ilo.widget.problem import AUTO, PAINTED, ROUNDS, Settings, rounds_of

RADIUS = 1000.0  # the paper's and ours


def button(name: str, tooltip: str, press: Callable[[object], None], style: str = "") -> ipywidgets.Button:
    made = ipywidgets.Button(description=name, tooltip=tooltip, button_style=style, layout={"width": "100px"})
    made.on_click(press)
    return made


class Controls:
    """The controls of a generator's searches. `settings` is what they say; `set` moves them."""

    def __init__(self, G: Generator):
        self._G = G
        tasks = [("missing where painted", PAINTED), *((task.title, name) for name, task in TASKS.items())]
        if G.image_shape[0] != 3:
            tasks = [(title, name) for title, name in tasks if name != "colourise"]
        self._moving = False  # while a choice moves others
        self._listener: Callable[[], object] = lambda: None
        self.controls = {
            "task": ipywidgets.Dropdown(options=tasks, description="Task"),
            "level": ipywidgets.FloatText(description="Level", step=0.1),
            "method": ipywidgets.Dropdown(options=[AUTO, *ROUNDS], description="Method"),
            "layer": ipywidgets.IntSlider(min=0, max=0, description="To layer"),
            "radius": ipywidgets.FloatLogSlider(
                RADIUS, min=1, max=4, step=0.05, readout_format=".0f", description="Radius"
            ),
            "noise": ipywidgets.BoundedFloatText(Settings.noise, min=0, max=10, step=0.01, description="Noise"),
            "share": ipywidgets.FloatSlider(1.0, min=0.02, max=1, step=0.01, description="Effort"),
            "seed": ipywidgets.BoundedIntText(0, min=0, max=2**31, description="Seed"),
        }
        tips = {
            "layer": "the deepest layer to search",
            "radius": "of the l1 balls about what the layers before found",
            "noise": "standard deviation, of values from -1 to 1",
            "share": "share of the method's steps",
        }
        for name, tip in tips.items():
            self.controls[name].tooltip = tip
        self.box = ipywidgets.VBox(list(self.controls.values()))
        self._settle("task")
        self._settle("method")
        for name, control in self.controls.items():
            control.observe(lambda _, name=name: self._changed(name), "value")

    def observe(self, listener: Callable[[], object]) -> None:
        """Call `listener` after every change."""
        self._listener = listener

    @property
    def settings(self) -> Settings:
        """ValueError where a choice is out of its bounds, such as a level of a fraction above 1."""
        taken = {name: None if control.disabled else control.value for name, control in self.controls.items()}
        if taken["level"] is not None and isinstance(TASKS[taken["task"]].default, int):
            whole = round(taken["level"])
            taken["level"] = whole if whole == taken["level"] else taken["level"]
        if taken["noise"] is None:
            taken["noise"] = Settings.noise
        return Settings(**taken)

    def set(self, **choices) -> None:
        """Move controls by the arguments of `Settings`; ValueError for what the task or the method does not take."""
        names = [field.name for field in fields(Settings)]
        if unknown := set(choices) - set(names):
            raise TypeError(f"unknown settings {', '.join(sorted(unknown))}: choose from {', '.join(names)}")
        Settings(**{name: value for name, value in choices.items() if name not in ("layer", "radius")})
        for name in sorted(choices, key=("task", "method", *names).index):  # others follow from these two
            control, value = self.controls[name], choices[name]
            if value is None:
                continue
            if control.disabled:
                raise ValueError(f"{name} has no effect on task {self.task!r} by {self.method}: leave it out")
            control.value = value
            if control.value != value:
                raise ValueError(f"{name} must lie in {control.min} … {control.max}, got {value!r}")

    @property
    def task(self) -> str:
        return self.controls["task"].value

    @property
    def method(self) -> str:
        return self.controls["method"].value

    def _changed(self, name: str) -> None:
        if self._moving:
            return
        self._settle(name)
        self._listener()

    def _settle(self, name: str) -> None:
        """Move what follows from a new task or method."""
        self._moving = True
        try:
            if name == "task":
                level, task = self.controls["level"], TASKS.get(self.task)
                level.disabled = task is None or not task.level
                level.value = 0.0 if level.disabled else task.default
                level.tooltip = "" if task is None else task.meaning
                self.controls["noise"].disabled = task is not None and task.level == "noise"
            elif name == "method":
                layer, radius = self.controls["layer"], self.controls["radius"]
                rounds = [] if self.method == AUTO else rounds_of(self._G, Settings(method=self.method))
                layer.disabled = len(rounds) < 2
                radius.disabled = not any(isinstance(r.radius, float) for r in rounds)
                if not layer.disabled:
                    layer.min, layer.max = 0, rounds[-1].layer
                    layer.min, layer.value = rounds[0].layer, rounds[-1].layer
        finally:
            self._moving = False
