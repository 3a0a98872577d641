"""StyleGAN2 as a layered generator, in pure torch.

Source: Karras et al., "Analyzing and improving the image quality of StyleGAN" (CVPR 2020). For R × R images:

    layer         what it does                          reads of the state             gives
    0             the constant, the noise maps, styles  latents (or styles)            features (B, C, 4, 4), …
    1             the block of 4 × 4 pixels             features, styles, noise_0      features, rgb (B, 3, 4, 4)
    i             the block of 2^(i+1) pixels           features, styles, rgb, noise   features and rgb, doubled
    log2(R) − 1   the last block                        features, styles, rgb, noise   image (B, 3, R, R)

The running RGB image is part of the state, so a round at a deeper layer starts from the very image the round before
ended with. Images are not clipped: a trained network stays near [−1, 1]. The space of styles decides what layer 0
reads and what later layers carry along; num_ws = 2·log2(R) − 2 is the number of styles of an image:

    space     layer 0 reads                           later layers carry              a style is
    paper     latents (B, num_ws, w_dim)              latents (B, num_ws, w_dim)      LeakyReLU(std·latent + mean)
    z         latents (B, z_dim), label (B, classes)  styles (B, num_ws, w_dim)       mapping(latent, label)
    w         styles (B, 1, w_dim)                    styles (B, num_ws, w_dim)       itself
    w+        styles (B, num_ws, w_dim)               styles (B, num_ws, w_dim)       itself

The space "paper" is that of PULSE and of the ILO authors' release. There the latents stay variables in every round.
`label` is there for class-conditional networks only.
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ilo.generators.base import Generator, State
from ilo.generators.fit import same_dtype
from ilo.generators.stylegan.network import Affine, StyledConv, ToRGB, upsample
from ilo.generators.stylegan.spaces import MappingNetwork, Space, Truncation, space_of
from ilo.generators.stylegan.table import WHAT, check, nvidia_table, resolutions

SPACES = ("paper", "z", "w", "w+")
NOISES = ("fixed", "free", "zero")


def stylegan2(
    weights: Mapping[str, Tensor],
    *,
    space: str = "paper",
    noise: str = "fixed",
    truncation: float = 1.0,
    label: int | Sequence[float] | None = None,
    clamp: float | None = None,
    name: str = "stylegan2",
) -> Generator:
    """Build the generator from a state dict in NVIDIA's StyleGAN2-ADA names (``synthesis.b4.const``, …).

    `ilo.generators.checkpoints` brings other formats into these names.

    Args:
        weights: name → tensor; one floating dtype, which becomes the generator's.
        space: where the search over styles starts: "paper", "z", "w" or "w+" (table above).
        noise: "fixed": layer 0 adds the checkpoint's maps to the state. "free": the maps are part of the state at
            layer 0, drawn like latents, and are optimised by default. "zero": none.
        truncation: ψ of w_avg + ψ·(w − w_avg); 1 leaves the styles alone.
        label: class index, or one weight per class, of a class-conditional network. None: the mean of its classes; in
            the space "paper" the Gaussian is then fitted to all classes alike.
        clamp: bound on the absolute value of what a convolution gives (NVIDIA's ``conv_clamp``), or None.
        name: what results and figures call it.

    A round optimises, unless told otherwise, those of features, latents, styles that the state at its layer holds,
    and with noise="free" the noise maps; rgb and label stay fixed.

    Raises:
        ValueError: an option is none of those above, or a tensor is missing or does not fit the others; it is named.
    """
    check_options(space, truncation, noise)
    if clamp is not None and not (math.isfinite(clamp) and clamp > 0):
        raise ValueError(f"clamp must be a positive number or None, got {clamp}")
    table = nvidia_table(weights)
    check(weights, table)
    same_dtype(weights, table, WHAT)
    return _stylegan2(weights, space, noise, truncation, label, clamp, name)


def check_options(space: str, truncation: float, noise: str = "fixed") -> None:
    """ValueError for an option that no StyleGAN has."""
    if space not in SPACES:
        raise ValueError(f"space must be one of {', '.join(SPACES)}, got {space!r}")
    if noise not in NOISES:
        raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {noise!r}")
    if not math.isfinite(truncation):
        raise ValueError(f"truncation must be finite, got {truncation}")


def _stylegan2(weights, space, noise, truncation, label, clamp, name) -> Generator:
    sizes = resolutions(weights)
    num_ws = 2 * len(sizes)
    mapping = MappingNetwork(weights)
    truncate = Truncation(mapping.w_avg, truncation)
    place = space_of(space, mapping, truncate, num_ws, label)
    maps = noise_maps(weights, sizes)
    start = Start(place.entrance, weights["synthesis.b4.const"], maps if noise == "fixed" else {})
    styles = {"style_key": place.key, "to_w": place.to_w}
    blocks = [Block(weights, size, **styles, clamp=clamp, last=size == sizes[-1]) for size in sizes]
    image_shape = (weights["synthesis.b4.torgb.weight"].shape[0], sizes[-1], sizes[-1])
    return layered([start, *blocks], place, image_shape, name, maps if noise == "free" else {})


def layered(
    layers: Sequence[nn.Module],
    space: Space,
    image_shape: tuple[int, int, int],
    name: str,
    free: Mapping[str, Tensor] | None = None,
) -> Generator:
    """The generator of these layers, searched in `space`; the noise maps `free` (1, h, w) are drawn like latents."""
    free = {key: tuple(value.shape) for key, value in (free or {}).items()}
    return Generator(
        layers,
        latent_shapes={"latents": space.shape, **free},
        image_shape=image_shape,
        name=name,
        variables=("features", "latents", "styles", *free),
        prior=space.prior,
    )


class Start(nn.Module):
    """Layer 0: the learned constant (C, 4, 4), the fixed noise maps, and what `entrance` makes of the state."""

    def __init__(self, entrance: nn.Module, const: Tensor, maps: Mapping[str, Tensor]):
        super().__init__()
        self.entrance = entrance
        self.const = nn.Parameter(const)
        self.names = tuple(maps)
        for key, value in maps.items():
            self.register_buffer(key, value)

    def forward(self, state: State) -> State:
        batch = len(next(iter(state.values())))
        given = {key: value for key, value in state.items() if key.startswith("noise_")}
        fixed = {key: getattr(self, key).expand(batch, -1, -1, -1) for key in self.names}
        return {"features": self.const.expand(batch, -1, -1, -1), **self.entrance(state), **fixed, **given}


class Block(nn.Module):
    """The convolutions of one resolution, and their part of the running RGB image.

    `style_key` is the tensor of the state (B, num_ws, w_dim) that holds the styles once `to_w` has been at it.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        size: int,
        *,
        style_key: str,
        to_w: nn.Module,
        clamp: float | None,
        last: bool,
    ):
        super().__init__()
        prefix = f"synthesis.b{size}"
        convs = ("conv1",) if size == 4 else ("conv0", "conv1")
        self.convs = nn.ModuleList(
            styled_conv(weights, f"{prefix}.{conv}", up=conv == "conv0", clamp=clamp) for conv in convs
        )
        self.torgb = to_rgb(weights, f"{prefix}.torgb", clamp=clamp)
        self.first = 0 if size == 4 else 2 * int(math.log2(size)) - 5  # index of its first style and noise map
        self.style_key, self.to_w, self.last = style_key, to_w, last

    def forward(self, state: State) -> State:
        state = dict(state)
        styles = self.to_w(state[self.style_key][:, self.first : self.first + len(self.convs) + 1])
        # One layout whatever the state's, so that a state that was saved and reloaded gives the same bits.
        *ws, w_rgb = (w.contiguous() for w in styles.unbind(1))
        x = state["features"]
        for i, (conv, w) in enumerate(zip(self.convs, ws, strict=True)):
            x = conv(x, w, state.pop(f"noise_{self.first + i}", None))
        rgb = self.torgb(x, w_rgb)
        if "rgb" in state:
            rgb = rgb + upsample(state["rgb"])
        return {"image": rgb} if self.last else {**state, "features": x, "rgb": rgb}


def styled_conv(weights: Mapping[str, Tensor], prefix: str, *, up: bool, clamp: float | None) -> StyledConv:
    affine = Affine(weights[f"{prefix}.affine.weight"], weights[f"{prefix}.affine.bias"])
    names = ("weight", "bias", "noise_strength")
    weight, bias, strength = (weights[f"{prefix}.{name}"] for name in names)
    return StyledConv(weight, bias, affine, strength, up=up, clamp=clamp)


def to_rgb(weights: Mapping[str, Tensor], prefix: str, *, clamp: float | None) -> ToRGB:
    weight = weights[f"{prefix}.weight"]
    gain = 1 / math.sqrt(weight.shape[1])
    affine = Affine(weights[f"{prefix}.affine.weight"], weights[f"{prefix}.affine.bias"], gain)
    return ToRGB(weight, weights[f"{prefix}.bias"], affine, clamp=clamp)


def noise_maps(weights: Mapping[str, Tensor], sizes: Sequence[int]) -> dict[str, Tensor]:
    """noise_0, noise_1, … in the order they are read, each (1, h, w)."""
    names = [f"synthesis.b{size}.{conv}.noise_const" for size in sizes for conv in ("conv0", "conv1")][1:]
    return {f"noise_{i}": weights[key][None] for i, key in enumerate(names)}
