"""In a notebook: paint a mask and recover (`Inpaint`), and look around in a generator (`Explore`).

JupyterLab, VS Code and Colab show both. Needs the extra: ``pip install -e '.[notebooks]'``. What needs no browser,
settings to images, is in `ilo.widget.problem`; everything a mouse does can be done by code.
"""

try:
    from ilo.widget.explore import Explore
    from ilo.widget.inpaint import Inpaint
except ModuleNotFoundError as missing:
    if missing.name not in ("anywidget", "ipywidgets", "traitlets"):
        raise
    raise ImportError(f"ilo.widget needs the notebooks' extra: pip install -e '.[notebooks]' ({missing})") from None

__all__ = ["Explore", "Inpaint"]
