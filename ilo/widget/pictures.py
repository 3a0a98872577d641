"""What is seen of the widgets: the canvas that is painted on, and images with a caption."""

import io
from importlib.resources import files

import anywidget
import ipywidgets
import numpy as np
import traitlets
from PIL import Image
from torch import Tensor

from ilo.plots import as_pixels

SIDE = 160  # pixels on the screen, at least


class Canvas(anywidget.AnyWidget):
    """A photo and the mask painted over it. `missing`: a byte a pixel, row by row, 1 missing. brush: radius in pixels.

    anywidget, since no widget of ipywidgets is drawn on, and with it there is one short script and no extension of our
    own to build, install or keep in step with each front end.
    """

    _esm = (files("ilo.widget") / "canvas.js").read_text(encoding="utf-8")
    width = traitlets.Int().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    photo = traitlets.Bytes().tag(sync=True)
    missing = traitlets.Bytes().tag(sync=True, from_json=lambda sent, _: bytes(sent))  # a memoryview
    brush = traitlets.Float(4.0).tag(sync=True)
    erase = traitlets.Bool(False).tag(sync=True)


class Panel:
    """An image, (1, C, H, W) in [−1, 1], under its caption; nothing until one is shown."""

    def __init__(self, title: str):
        self.title = title
        self.caption = ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png", layout={"width": f"{SIDE}px", "height": f"{SIDE}px"})
        self.box = ipywidgets.VBox([self.caption, self.image])
        self.show(None)

    def show(self, image: Tensor | None, note: str = "") -> None:
        self.box.layout.display = "none" if image is None else ""
        if image is not None:
            self.caption.value = f"<b>{self.title}</b> {note}"
            self.image.value = png(image, SIDE)


def png(image: Tensor, side: int = 1) -> bytes:
    """The image, (1, C, H, W), as PNG; every pixel a whole square, so that the longer side has at least `side`."""
    levels = np.round(255 * as_pixels(image[0])).astype(np.uint8)  # (H, W, 3)
    scale = -(-side // max(levels.shape[:2]))
    file = io.BytesIO()
    Image.fromarray(levels.repeat(scale, 0).repeat(scale, 1)).save(file, "png")
    return file.getvalue()
