"""Interpolation: what super-resolution must beat."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ilo.baselines.checks import check_linear
from ilo.operators import Downsample


@torch.no_grad()
def bicubic(A: Downsample, y: Tensor) -> Tensor:
    """Enlarge low-resolution images by cubic convolution with a = −0.5 (Keys, IEEE Trans. ASSP 1981).

    The image is continued by weighting only the pixels there are. Noise is enlarged with the rest: the method knows
    nothing of it, nor of the operator's kernel.

    Args:
        A: a `Downsample` operator, of either kernel.
        y: low-resolution images (B, C, h, w).

    Returns:
        images (B, C, H, W) in [−1, 1]: what overshoots is clipped.

    Raises:
        ValueError: another operator; images that do not fit it or are not finite.
    """
    if not isinstance(A, Downsample):
        raise ValueError(
            f"bicubic interpolation enlarges what ilo.operators.Downsample measures; {type(A).__name__} measures "
            "something else: use total_variation, lasso_dct or lasso_wavelet, which take any linear operator"
        )
    check_linear(A, y, "bicubic")
    # antialias=True chooses a = −0.5 (without it PyTorch takes −0.75), and does nothing else where images grow
    return F.interpolate(y, size=A.shape_in[1:], mode="bicubic", antialias=True).clamp(-1, 1)
