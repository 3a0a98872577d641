"""Metrics against independent calculations, by image and not by batch, and loud about what is no image."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from scipy.stats import norm

from ilo import metrics
from ilo.images import astronaut_face
from ilo.perceptual import lpips_network


def batch(n: int = 5, size: tuple[int, int] = (64, 64), dtype=torch.float32):
    """(images, truth): the astronaut's face under more and more noise."""
    face = astronaut_face(80)[..., : size[0], : size[1]].to(dtype)
    noise = torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    scale = 0.05 * torch.arange(1, n + 1, dtype=dtype).view(n, 1, 1, 1)
    return (face + scale * noise).clamp(-1, 1), face.repeat(n, 1, 1, 1)


def oracle_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13, of one channel with values in [−1, 1]: an 11×11 Gaussian window, where it fits."""
    x, y = (x + 1) / 2, (y + 1) / 2
    grid = np.arange(-5, 6)
    window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(v):
        return convolve2d(v, window, mode="valid")

    c1, c2 = 0.01**2, 0.03**2
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return (((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mse_and_psnr_by_hand(dtype):
    truth = torch.zeros(3, 1, 2, 2, dtype=dtype)
    images = truth.clone()
    images[0, 0, 0, 0] = 1  # a quarter of the pixels is off by 1
    images[1] = 0.5
    torch.testing.assert_close(metrics.mse(images, truth), torch.tensor([0.25, 0.25, 0.0], dtype=torch.float64))
    # 10·log10(4 / 0.25) = 12.0412 dB
    torch.testing.assert_close(
        metrics.psnr(images, truth), torch.tensor([12.04119982655925, 12.04119982655925, np.inf], dtype=torch.float64)
    )
    black, white = -torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    assert metrics.mse(black, white).item() == 4
    assert metrics.psnr(black, white).item() == 0


def test_mse_of_8_bit_levels_is_what_8_bit_tools_say():
    images, truth = batch(3)
    levels = [((v.double() + 1) * 127.5).round() for v in (images, truth)]
    rounded = [v / 127.5 - 1 for v in levels]
    error = (levels[0] - levels[1]).square().flatten(1).mean(1)
    torch.testing.assert_close(metrics.psnr(*rounded), 10 * torch.log10(255**2 / error))


@pytest.mark.parametrize("size", [(64, 64), (11, 11), (37, 23)])
def test_ssim_equals_the_paper(size):
    images, truth = batch(3, size)
    expected = [
        np.mean([oracle_ssim(a, b) for a, b in zip(x.double().numpy(), t.double().numpy(), strict=True)])
        for x, t in zip(images, truth, strict=True)
    ]
    np.testing.assert_allclose(metrics.ssim(images, truth).numpy(), expected, rtol=1e-6)


def test_ssim_by_hand():
    """Flat images differ in luminance alone, stripes about mid-grey in contrast alone (their variance is ¼·height²)."""
    stripes = (torch.arange(32) % 2 - 0.5).expand(1, 1, 32, 32)  # of height 1 in units of [0, 1], 0.5 less
    levels = [  # in units of [0, 1]
        (torch.full((1, 1, 32, 32), 0.5), torch.full((1, 1, 32, 32), 0.6), 0.983609),  # 0.6001 / 0.6101
        (torch.full((1, 1, 32, 32), 0.3), torch.full((1, 1, 32, 32), 0.4), 0.960016),  # 0.2401 / 0.2501
        (torch.zeros(1, 1, 32, 32), torch.full((1, 1, 32, 32), 0.1), 0.009901),  # 0.0001 / 0.0101: black is not grey
        (0.5 + stripes, 0.5 + stripes / 2, 0.800574),  # (2·0.5·0.25 + 0.0009) / (0.25 + 0.0625 + 0.0009)
        (0.5 + stripes, 0.5 - stripes / 2, -0.794831),  # (−2·0.5·0.25 + 0.0009) / (0.25 + 0.0625 + 0.0009)
    ]
    for x, y, expected in levels:
        assert metrics.ssim(2 * x - 1, 2 * y - 1).item() == pytest.approx(expected, abs=2e-4)


def test_ssim_of_grey_images():
    images, truth = (v.mean(1, keepdim=True) for v in batch(2))
    expected = [oracle_ssim(x[0].double().numpy(), t[0].double().numpy()) for x, t in zip(images, truth, strict=True)]
    np.testing.assert_allclose(metrics.ssim(images, truth).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_the_network(net):
    images, truth = batch(3)
    with torch.no_grad():
        expected = lpips_network(net)(images, truth).flatten().double()
    torch.testing.assert_close(metrics.lpips(images, truth, net=net), expected, rtol=1e-5, atol=0)


def test_lpips_of_grey_images_is_that_of_equal_channels():
    images, truth = (v.mean(1, keepdim=True) for v in batch(2))
    assert torch.equal(metrics.lpips(images, truth), metrics.lpips(images.repeat(1, 3, 1, 1), truth.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("name", metrics.METRICS)
def test_no_metric_depends_on_the_batch(name):
    metric = metrics.METRICS[name]
    images, truth = batch(6)
    together = metric(images, truth)
    assert together.shape == (6,)
    assert together.dtype == torch.float64
    alone = torch.cat([metric(images[i : i + 1], truth[i : i + 1]) for i in range(6)])
    assert torch.equal(together, alone)
    order = torch.tensor([4, 0, 3, 3])
    assert torch.equal(metric(images[order], truth[order]), together[order])


@pytest.mark.parametrize("name", metrics.METRICS)
def test_metrics_agree_on_better_and_worse(name):
    """More and more noise: each metric gets steadily worse, and the truth itself is best."""
    images, truth = batch(6)
    values = metrics.METRICS[name](torch.cat([truth[:1], images]), torch.cat([truth[:1], truth]))
    steps = values.diff() * (-1 if name in ("psnr", "ssim") else 1)
    assert (steps > 0).all()
    assert values[0].item() == pytest.approx({"mse": 0, "psnr": np.inf, "ssim": 1, "lpips": 0}[name], abs=1e-12)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_metrics_do_not_ask_for_gradients_or_memory_layout(name):
    metric = metrics.METRICS[name]
    images, truth = batch(2)
    plain = metric(images, truth)
    awkward = images.clone().to(memory_format=torch.channels_last).requires_grad_()
    assert torch.equal(metric(awkward, truth), plain)
    assert not metric(awkward, truth).requires_grad


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(11, 20), st.integers(11, 20))
@settings(max_examples=20)
def test_symmetry_and_range(seed, channels, height, width):
    rng = torch.Generator().manual_seed(seed)
    x, y = (2 * torch.rand(2, 2, channels, height, width, generator=rng, dtype=torch.float64) - 1).unbind()
    for metric in (metrics.mse, metrics.psnr, metrics.ssim):
        torch.testing.assert_close(metric(x, y), metric(y, x), rtol=1e-9, atol=1e-12)
    assert ((metrics.mse(x, y) > 0) & (metrics.mse(x, y) < 4)).all()
    assert (metrics.ssim(x, y) < 1).all()
    torch.testing.assert_close(metrics.mse(x, -x), 4 * x.square().mean((1, 2, 3)))


def test_evaluate_makes_a_row_an_image():
    images, truth = batch(4)
    table = metrics.evaluate(images, truth)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["mse", "psnr", "ssim", "lpips"]
    assert list(table.index) == [0, 1, 2, 3]
    for name, metric in metrics.METRICS.items():
        np.testing.assert_array_equal(table[name], metric(images, truth).numpy())
    assert list(metrics.evaluate(images, truth, lpips=False).columns) == ["mse", "psnr", "ssim"]


@pytest.mark.parametrize("name", metrics.METRICS)
def test_what_is_no_image_is_refused(name):
    metric = metrics.METRICS[name]
    images, truth = batch(2)
    with pytest.raises(ValueError, match=r"truth must lie in \[−1, 1\].*x / 127.5 - 1"):
        metric(images, 127.5 * (truth + 1))
    with pytest.raises(ValueError, match=r"images must lie in \[−1, 1\].*clamp"):
        metric(1.3 * images, truth)
    with pytest.raises(ValueError, match=r"agree in shape, got \(2, 3, 64, 64\) and \(1, 3, 64, 64\)"):
        metric(images, truth[:1])
    with pytest.raises(ValueError, match=r"images must have shape \(B, C, H, W\), got \(3, 64, 64\).*unsqueeze"):
        metric(images[0], truth[0])
    with pytest.raises(ValueError, match="NaN"):
        metric(images.masked_fill(truth > 0.9, float("nan")), truth)
    with pytest.raises(TypeError, match=r"uint8.*127\.5"):
        metric(images, (127 * (truth + 1)).byte())
    with pytest.raises(TypeError, match="must be a torch"):
        metric(images.numpy(), truth)


def test_what_a_metric_cannot_look_at_is_refused():
    small = torch.zeros(1, 3, 64, 10)
    with pytest.raises(ValueError, match="SSIM's window needs at least 11 pixels a side, got 10×64"):
        metrics.ssim(small, small)
    with pytest.raises(ValueError, match="LPIPS with 'vgg' needs at least 16 pixels"):
        metrics.lpips(small, small, net="vgg")
    with pytest.raises(ValueError, match="LPIPS looks at images of 1 or 3 channels, got 2"):
        metrics.lpips(torch.zeros(1, 2, 64, 64), torch.zeros(1, 2, 64, 64))
    with pytest.raises(ValueError, match="net must be one of 'alex', 'vgg', got 'squeeze'"):
        metrics.lpips(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), net="squeeze")


@pytest.mark.parametrize(("net", "smallest"), metrics.LPIPS_SMALLEST.items())
def test_the_smallest_image_lpips_takes_is_the_smallest_it_can(net, smallest):
    x = torch.zeros(1, 3, smallest, smallest)
    assert metrics.lpips(x, x, net=net).item() == 0
    with pytest.raises(RuntimeError, match="too small"):
        lpips_network(net)(x[..., 1:, 1:], x[..., 1:, 1:])


def test_the_ranked_probability_score_is_its_integral():
    """∫ (F(v) − [v ≥ truth])² dv, Gneiting and Raftery 2007, equation 20, by the trapezoid rule."""
    x, t = batch(2, (3, 3))
    s = torch.linspace(0.05, 0.4, x.numel(), dtype=x.dtype).view_as(x)
    v = np.linspace(-6, 6, 120001)
    for i in range(2):
        expected = []
        for mean, scale, truth in zip(
            x[i].flatten().tolist(), s[i].flatten().tolist(), t[i].flatten().tolist(), strict=True
        ):
            step = norm.cdf(v, mean, scale) - (v >= truth)
            expected.append(np.trapezoid(step**2, v))
        assert metrics.crps(x, s, t)[i].item() == pytest.approx(np.mean(expected), rel=1e-3)


def test_the_score_of_a_certain_image_is_its_absolute_error_and_the_right_width_has_the_least():
    x, t = batch(2)
    torch.testing.assert_close(metrics.crps(x, torch.zeros_like(x), t), (x - t).double().abs().flatten(1).mean(1))
    g = torch.Generator().manual_seed(0)
    truth = (0.1 * torch.randn(1, 3, 64, 64, generator=g)).clamp(-1, 1)
    widths = [metrics.crps(0 * truth, torch.full_like(truth, s), truth).item() for s in (0.05, 0.07, 0.1, 0.14, 0.2)]
    assert np.argmin(widths) == 2


def test_what_is_covered_is_counted_where_it_is_asked_for():
    truth = torch.zeros(2, 3, 4, 4)
    truth[1, :, 0, 0] = 0.5
    low, high = torch.full_like(truth, -0.1), torch.zeros_like(truth)
    assert metrics.covered(low, high, truth).tolist() == pytest.approx([1, 15 / 16])  # ends count
    corner = torch.zeros(4, 4, dtype=torch.bool)
    corner[0, :2] = True
    assert metrics.covered(low, high, truth, corner).tolist() == [1, 0.5]
    assert metrics.crps(high, 0 * truth, truth, corner).tolist() == [0, 0.25]
    for wrong in (corner[:3], ~corner & corner, corner.float()):
        with pytest.raises(ValueError, match="where is a bool tensor"):
            metrics.covered(low, high, truth, wrong)
    for wrong in (-truth - 1, truth[:1], truth / 0):
        with pytest.raises(ValueError, match="spread is finite, at least 0 and of shape"):
            metrics.crps(high, wrong, truth)
