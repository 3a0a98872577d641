"""How bright an image is, and whether an error goes with it."""

import pandas as pd
import torch
from scipy.stats import linregress
from torch import Tensor

from ilo.images import check_images
from ilo.operators.pixels import LUMA


def brightness_of(images: Tensor) -> pd.DataFrame:
    """How bright images (B, 3, H, W) in [−1, 1] are: a row each, in order.

    luma: mean over all pixels of 0.299 R + 0.587 G + 0.114 B, R, G and B in [0, 1]. face: the same over the central
    half of rows and columns, which of a portrait is nearly all face. variance: of the values, in units of [−1, 1]: the
    squared error of a flat image of the right mean.

    Raises:
        TypeError, ValueError: no batch of colour images in [−1, 1].
    """
    check_images(images)
    if images.shape[1] != 3:
        raise ValueError(f"the brightness of a colour image has 3 channels to weigh, got {images.shape[1]}")
    x = images.detach().double().cpu()
    height, width = x.shape[-2:]
    luma = torch.einsum("c,bchw->bhw", torch.tensor(LUMA, dtype=x.dtype), (x + 1) / 2)
    central = luma[:, height // 4 : height - height // 4, width // 4 : width - width // 4]
    columns = {"luma": luma.mean((1, 2)), "face": central.mean((1, 2)), "variance": x.flatten(1).var(1, correction=0)}
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()})


def slopes(wide: pd.DataFrame, x: pd.Series) -> pd.DataFrame:
    """Least squares of every column of `wide` on `x`, each with an intercept; rows are matched by their index.

    Returns:
        A row a column of `wide`: slope, error (its standard error) and n, the rows where there is a value.

    Raises:
        ValueError: fewer than 3 rows with a value, or an `x` that does not vary over them.
    """
    found = {}
    for name, values in wide.items():
        y = values.dropna()
        at = x.reindex(y.index).dropna()
        if at.nunique() < 3:
            raise ValueError(f"a slope and its error need 3 rows whose {x.name} differs, {name!r} has {at.nunique()}")
        fit = linregress(at, y[at.index])
        found[name] = {"slope": fit.slope, "error": fit.stderr, "n": len(at)}
    return pd.DataFrame.from_dict(found, orient="index")
