"""The methods that ILO is compared with, each with its source; all take the same operators and measurements.

`csgm`, `pulse`, `release` and `robust_unsupervised` search a generator by `ilo.recover` and return its `Result`. The
others know nothing of faces: ``method(A, y, …) -> images``, (B, C, H, W) in [−1, 1], each problem of the batch by
itself, the same call giving the same images.
"""

from ilo.baselines.field import smooth_field
from ilo.baselines.generative import csgm, one_cycle_drop, pulse, release
from ilo.baselines.interpolation import bicubic
from ilo.baselines.robust import robust_unsupervised
from ilo.baselines.sparse import cosine_transform, fista, lasso_dct, lasso_wavelet, wavelet_transform
from ilo.baselines.tv import total_variation, variation
from ilo.baselines.untrained import deep_decoder, weights_of
from ilo.baselines.weights import column_scale, default_weight

__all__ = [
    "bicubic",
    "column_scale",
    "cosine_transform",
    "csgm",
    "deep_decoder",
    "default_weight",
    "fista",
    "lasso_dct",
    "lasso_wavelet",
    "one_cycle_drop",
    "pulse",
    "release",
    "robust_unsupervised",
    "smooth_field",
    "total_variation",
    "variation",
    "wavelet_transform",
    "weights_of",
]
