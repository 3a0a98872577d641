"""Paint what is missing of a photo, choose how to recover it, and watch the image appear."""

import html
import io
import time
from collections.abc import Callable
from pathlib import Path

import ipywidgets
import torch
from torch import Tensor

from ilo.checks import check_kind
from ilo.files import written_atomically
from ilo.generators.base import Generator
from ilo.images import astronaut_face, check_images, read_image, write_image
from ilo.metrics import psnr
from ilo.operators.tasks import TASKS
from ilo.solver.result import AutoResult, Result
from ilo.widget.controls import Controls, button
from ilo.widget.pictures import Canvas, Panel, png
from ilo.widget.problem import Problem, Recovery, Settings, bytes_of, mask_of, measured, stroke

EVERY = 0.15  # seconds between two looks at the search: a browser need not draw every step
WHITE = 0.5  # standard deviation that the picture of the spread shows white, as `ilo recover` does


class Inpaint:
    """A photo to paint on, the choices beside it, and what is recovered below. The last line of a cell shows it.

        widget = ilo.widget.Inpaint(G)
        widget.paint([(20, 26), (44, 26)], brush=6)  # as the mouse does: (x, y) in pixels
        widget.set(method="ILO", layer=2, radius=1000)
        result = widget.recover().wait()  # the button goes on while other cells run

    What goes wrong is said below the buttons; what was called by code raises it, too.

    Args:
        G: the generator.
        photo: (1, C, H, W) in [−1, 1] of the generator's size, an image file, or None: the astronaut's face.

    photo, missing ((H, W), bool: painted), settings, problem and result are attributes; `result` is None until there
    is one.
    """

    def __init__(self, G: Generator, photo: Tensor | str | Path | None = None):
        self.G = check_kind(G, Generator, "G")
        _, height, width = G.image_shape
        self._recovery: Recovery | None = None
        self.canvas = Canvas(width=width, height=height, missing=bytes(height * width), brush=max(1, width / 16))
        self.controls = Controls(G)
        self.panels = {name: Panel(name) for name in ("Truth", "Seen", "Recovered", "Sharp", "Spread")}
        self.bar = ipywidgets.FloatProgress(max=1.0, layout={"width": "305px"})
        self.status = ipywidgets.HTML()
        self.upload = ipywidgets.FileUpload(accept="image/*", description="Photo …", layout={"width": "110px"})
        self.folder = ipywidgets.Text("recovered", layout={"width": "140px"}, tooltip="folder to save in")
        self.buttons = {
            "Astronaut": button("Astronaut", "take the astronaut's face", self._told(lambda: self.load(None))),
            "Clear": button("Clear", "nothing is missing", self._told(self.clear)),
            "Recover": button("Recover", "recover what is missing", self._told(self.recover), "primary"),
            "Stop": button("Stop", "end the search with what it has found", self._told(self.stop), "danger"),
            "Save": button("Save", "write the images and the result to the folder", self._told(self.save)),
        }
        self.upload.observe(self._told(self._take_upload), "value")
        self.canvas.observe(self._told(self._show_seen), "missing")
        self.controls.observe(self._told(self._show_seen))
        self.box = self._laid_out()
        self._enable(running=False)
        self.load(photo)

    def _laid_out(self) -> ipywidgets.VBox:
        brush = ipywidgets.FloatSlider(min=0.5, max=self.canvas.width / 4, step=0.5, description="Brush")
        mode = ipywidgets.ToggleButtons(options=[("Paint", False), ("Erase", True)], style={"button_width": "80px"})
        ipywidgets.link((self.canvas, "brush"), (brush, "value"))
        ipywidgets.link((self.canvas, "erase"), (mode, "value"))
        row = ipywidgets.HBox
        photo = row([self.upload, self.buttons["Astronaut"], self.buttons["Clear"]])
        run = row([self.buttons["Recover"], self.buttons["Stop"]])
        save = row([self.buttons["Save"], self.folder])
        choices = ipywidgets.VBox([photo, mode, brush, self.controls.box, run, self.bar, save, self.status])
        panels = row([panel.box for panel in self.panels.values()], layout={"flex_flow": "row wrap"})
        top = row([self.canvas, choices], layout={"flex_flow": "row wrap", "grid_gap": "12px"})
        return ipywidgets.VBox([top, panels])

    def _repr_mimebundle_(self, **kwargs):
        shown = self.box._repr_mimebundle_(**kwargs)
        return shown and {**shown, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"Inpaint({self.G.name}, {int(self.missing.sum())} of {self.missing.numel()} pixels missing)"

    # photo and mask

    def load(self, photo: Tensor | str | Path | None) -> None:
        """Take another photo (see the class); the mask stays, what was recovered goes."""
        self._no_search()
        channels, height, width = self.G.image_shape
        if photo is None or not isinstance(photo, Tensor):
            photo = astronaut_face(width) if photo is None else read_image(photo, size=width)
            photo = photo if channels == 3 else photo.mean(1, keepdim=True)
        check_images(photo, "photo")
        if tuple(photo.shape) != (1, channels, height, width):
            raise ValueError(f"the photo must have the shape {(1, channels, height, width)}, got {tuple(photo.shape)}")
        self.photo, self._recovery = photo, None
        self.canvas.photo = png(photo)
        self.panels["Truth"].show(photo)
        for name in ("Recovered", "Sharp", "Spread"):
            self.panels[name].show(None)
        self._enable(running=False)
        self._show_seen()

    @property
    def missing(self) -> Tensor:
        return mask_of(self.canvas.missing, self.canvas.height, self.canvas.width)

    @missing.setter
    def missing(self, mask: Tensor) -> None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != self.missing.shape:
            raise ValueError(f"the mask must be a bool tensor of shape {tuple(self.missing.shape)}, True where missing")
        self.canvas.missing = bytes_of(mask)

    def paint(self, points, brush: float | None = None, erase: bool = False) -> None:
        """Draw a stroke along (x, y), … in pixels, as the mouse does; brush: its radius, None: the slider's."""
        self.missing = stroke(self.missing, points, self.canvas.brush if brush is None else brush, erase)

    def clear(self) -> None:
        """Nothing is missing."""
        self.missing = torch.zeros_like(self.missing)

    # the search

    @property
    def settings(self) -> Settings:
        return self.controls.settings

    def set(self, **choices) -> None:
        """Choose by code what the controls show: the arguments of `ilo.widget.problem.Settings`."""
        self.controls.set(**choices)

    @property
    def problem(self) -> Problem | None:
        """What was last recovered, or is being."""
        return None if self._recovery is None else self._recovery.problem

    @property
    def result(self) -> Result | None:
        return None if self._recovery is None else self._recovery.result

    @property
    def is_running(self) -> bool:
        return self._recovery is not None and self._recovery.is_running

    def recover(self) -> "Inpaint":
        """Begin to recover, in a thread; `wait` for it, or `stop` it."""
        self._no_search()
        problem = measured(self.photo, self.missing, self.settings)
        for name in ("Recovered", "Sharp", "Spread"):
            self.panels[name].show(None)
        self.bar.value, self.bar.bar_style, self._looked = 0.0, "", 0.0
        self._say("searching …")
        self._enable(running=True)
        try:
            self._recovery = Recovery(self.G, problem, self.settings, self._watch, self._finish)
        except Exception:
            self._enable(running=False)
            raise
        return self

    def stop(self) -> None:
        """End the search at its next step; what was found so far is the result."""
        if self._recovery is not None:
            self._recovery.stop()

    def wait(self, timeout: float | None = None) -> Result:
        """Return the result when there is one; raise what went wrong, or TimeoutError after so many seconds."""
        if self._recovery is None:
            raise ValueError("nothing is being recovered: press Recover, or call recover()")
        return self._recovery.wait(timeout)

    def save(self, folder: str | Path | None = None) -> list[Path]:
        """Write result.safetensors and every image shown, as PNG, to a folder; None: the one beside the button."""
        if self.result is None:
            raise ValueError("there is nothing to save yet: press Recover")
        folder = Path(self.folder.value if folder is None else folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [self.result.save(folder / "result.safetensors")]
        mask = torch.where(self.missing, -1.0, 1.0)[None]  # white: seen, as `ilo recover --mask` takes it
        for name, image in {**self._images(), "Mask": mask[None]}.items():
            paths.append(folder / f"{name.lower()}.png")
            write_image(paths[-1], image.clamp(-1, 1))
        with written_atomically(folder / "settings.txt") as temporary:
            temporary.write_text(f"{self._recovery.settings}\n", encoding="utf-8")
        self._say(f"saved {len(paths)} files to {folder.absolute()}")
        return paths

    def _images(self) -> dict[str, Tensor]:
        """What the panels show of the result, (1, C, H, W) each."""
        result, problem = self.result, self.problem
        shown = {"Truth": problem.truth, "Seen": problem.A.cpu().picture(problem.y.cpu())}
        shown["Recovered"] = result.images.cpu()
        if isinstance(result, AutoResult):
            spread = result.spread.cpu().square().mean(1, keepdim=True).sqrt().expand_as(shown["Recovered"])
            shown |= {"Sharp": result.sharp.cpu(), "Spread": (2 * spread / WHITE - 1).clamp(-1, 1)}
        return shown

    # what the person sees

    def _watch(self, share: float, image: Tensor) -> None:
        if time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        self.bar.value = share
        self.panels["Recovered"].show(image, "so far")

    def _finish(self, recovery: Recovery) -> None:
        self._recovery = recovery  # a search may end before the line that began it
        self._enable(running=False)
        if recovery.error is not None:
            self.bar.bar_style = "danger"
            self._say(recovery.error)
            return
        self.bar.value, self.bar.bar_style = 1.0, "success"
        for name, image in self._images().items():
            dB = psnr(image.clamp(-1, 1), recovery.problem.truth).item() if name in ("Recovered", "Sharp") else None
            self.panels[name].show(image, "" if dB is None else f"{dB:.1f} dB")
        if "Spread" in self._images():
            self.panels["Spread"].show(self._images()["Spread"], f"white: {WHITE:g} or more")
        self._say(f"status: {recovery.result.status[0]}")

    def _show_seen(self) -> None:
        """What is measured, before the search: or the reason why it cannot be."""
        self._say("")
        problem = None
        if self.settings.task in TASKS or self.missing.any():
            problem = measured(self.photo, self.missing, self.settings)
        self.panels["Seen"].show(self.photo if problem is None else problem.A.picture(problem.y))

    def _take_upload(self) -> None:
        for file in self.upload.value:
            self.load_file(file["content"])

    def load_file(self, content: bytes | memoryview) -> None:
        """Take an image file's content for the photo: its central square."""
        width = self.canvas.width
        image = read_image(io.BytesIO(bytes(content)), size=width)
        self.load(image if self.G.image_shape[0] == 3 else image.mean(1, keepdim=True))

    def _no_search(self) -> None:
        if self.is_running:
            raise RuntimeError("a recovery is going on: stop it, or wait for it")

    def _enable(self, running: bool) -> None:
        for name in ("Astronaut", "Clear", "Recover"):
            self.buttons[name].disabled = running
        self.upload.disabled = running
        self.buttons["Stop"].disabled = not running
        self.buttons["Save"].disabled = running or self.result is None

    def _say(self, what: str | Exception) -> None:
        text = html.escape(str(what))
        if isinstance(what, Exception):
            text = f'<span style="color: #b3261e"><b>{type(what).__name__}</b>: {text}</span>'
        self.status.value = text

    def _told(self, action: Callable[[], object]) -> Callable[..., None]:
        """The same for a button or a change, which have nobody to raise to: what goes wrong is shown."""

        def act(_: object = None) -> None:
            try:
                action()
            except Exception as error:
                self._say(error)

        return act
