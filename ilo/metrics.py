"""How near an image is to the truth: one value per image, for images (B, C, H, W) in [−1, 1].

Every metric takes the images and the truth, equal in shape, and returns a float64 tensor (B,) on the CPU. Each image
is measured by itself, so its numbers are the same bit for bit alone or in any batch. All raise ValueError or TypeError
for anything that is not a batch of images (`ilo.images.check_images`).
"""

import math
from functools import cache

import pandas as pd
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from ilo.images import check_images
from ilo.perceptual import lpips_network

LPIPS_SMALLEST = {"alex": 31, "vgg": 16}  # pixels a side that survive the trunk's pooling


def mse(images: Tensor, truth: Tensor) -> Tensor:
    """Mean over channels and pixels of the squared difference, in units of [−1, 1] (4 at most). Less is better.

    In units of [0, 1] it is a quarter of this, and the squared error of an image is C·H·W times this.
    """
    x, t = _pair(images, truth)
    return (x - t).square().flatten(1).mean(1)


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, 10·log10(4 / mse): the peak-to-peak range is 2. More is better.

    inf for images that are equal bit for bit. A search does not end there unless the truth was among its starts.
    """
    return 10 * torch.log10(4 / mse(images, truth))


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), at most 1, for images of at least 11 pixels a side. More is better.

    Taken of (x + 1)/2 with a range of 1, since its luminance term compares means that must not be negative.
    scikit-image's, set as in the paper: a Gaussian window of standard deviation 1.5 (11×11), covariances
    normalised by the window's weights, K_1 = 0.01, K_2 = 0.03; the mean over the channels.
    """
    x, t = ((v + 1) / 2 for v in _pair(images, truth))
    _check_side(x, 11, "SSIM's window")
    values = [
        structural_similarity(
            a.numpy(),
            b.numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
        )
        for a, b in zip(x, t, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


@torch.no_grad()
def lpips(images: Tensor, truth: Tensor, net: str = "alex") -> Tensor:
    """LPIPS version 0.1 (Zhang et al. 2018), 0 for equal images. Less is better.

    The trunk `net` is "alex" (what its authors report; at least 31 pixels a side) or "vgg" (16). Images of one channel
    are repeated to three. Computed in float32 on the device of `images`.
    """
    if net not in LPIPS_SMALLEST:
        raise ValueError(f"net must be one of {', '.join(map(repr, LPIPS_SMALLEST))}, got {net!r}")
    x, t = _pair(images, truth)
    _check_side(x, LPIPS_SMALLEST[net], f"LPIPS with {net!r}")
    if x.shape[1] not in (1, 3):
        raise ValueError(f"LPIPS looks at images of 1 or 3 channels, got {x.shape[1]}")
    network = _lpips_on(net, images.device)
    x, t = (v.to(images.device, torch.float32).expand(-1, 3, -1, -1).split(1) for v in (x, t))
    # One image at a time: how a convolution rounds depends on the batch it is in.
    return torch.cat([network(a, b).flatten() for a, b in zip(x, t, strict=True)]).double().cpu()


def covered(low: Tensor, high: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Fraction of the truth's numbers that lie in low … high, ends included: what an interval's level promises.

    Args:
        low, high: as truth, what `AutoResult.interval` gives.
        where: (H, W), bool: of which pixels, at least one; None: of all. The same for every image.
    """
    a, t = _pair(low, truth)
    b, _ = _pair(high, truth)
    return _mean_where((a <= t) & (t <= b), where)


def crps(images: Tensor, spread: Tensor, truth: Tensor, where: Tensor | None = None) -> Tensor:
    """Continuous ranked probability score of N(images, spread²), a mean over channels and pixels. Less is better.

    Gneiting and Raftery 2007, equation 21: σ·(z·(2Φ(z) − 1) + 2φ(z) − 1/√π), z = (truth − images)/σ, in units of
    [−1, 1]. It rewards an interval that is narrow and right; where the spread is 0 it is the absolute error.

    Args:
        spread: standard deviations, at least 0, shaped as images.
        where: as in `covered`.
    """
    x, t = _pair(images, truth)
    s = spread.detach().double().cpu()
    if s.shape != x.shape or not (s.isfinite() & (s >= 0)).all():
        raise ValueError(f"spread is finite, at least 0 and of shape {tuple(x.shape)}, got {tuple(s.shape)}")
    z = (t - x) / s.where(s > 0, 1)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    score = s * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
    return _mean_where(score.where(s > 0, (t - x).abs()), where)


METRICS = {"mse": mse, "psnr": psnr, "ssim": ssim, "lpips": lpips}


def evaluate(images: Tensor, truth: Tensor, lpips: bool = True) -> pd.DataFrame:
    """All metrics: one row per image, in order; columns mse, psnr (dB), ssim and, if asked for, lpips (alex)."""
    chosen = {name: metric for name, metric in METRICS.items() if lpips or name != "lpips"}
    return pd.DataFrame({name: metric(images, truth).numpy() for name, metric in chosen.items()})


def _pair(images: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both, validated, in float64 on the CPU."""
    check_images(images, "images")
    check_images(truth, "truth")
    if images.shape != truth.shape:
        raise ValueError(f"images and truth must agree in shape, got {tuple(images.shape)} and {tuple(truth.shape)}")
    return images.detach().double().cpu().contiguous(), truth.detach().double().cpu().contiguous()


def _mean_where(values: Tensor, where: Tensor | None) -> Tensor:
    """(B,): means over channels and the pixels of `where`, (H, W)."""
    if where is not None:
        where = where.cpu()
        if where.dtype != torch.bool or where.shape != values.shape[-2:] or not where.any():
            raise ValueError(f"where is a bool tensor {tuple(values.shape[-2:])} that is true somewhere")
        values = values[..., where]
    return values.double().flatten(1).mean(1)


def _check_side(x: Tensor, smallest: int, what: str) -> None:
    if min(x.shape[-2:]) < smallest:
        raise ValueError(f"{what} needs at least {smallest} pixels a side, got {x.shape[-1]}×{x.shape[-2]}")


@cache
def _lpips_on(net: str, device: torch.device) -> nn.Module:
    return lpips_network(net).to(device)
