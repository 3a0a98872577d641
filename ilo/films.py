"""Films: the first frame is recovered in full, each later one from where the one before ended, in a few steps.

The video mode of the ILO authors' release, without its faults: one operator measures all frames, the first frame is
among the results, and the later frames' search is a `Round` like any other. A later frame stays in l1 balls about the
solution before, so that what the measurements leave open does not jump from frame to frame.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageSequence
from torch import Tensor

from ilo.checks import check_count, check_kind, check_number
from ilo.files import written_atomically
from ilo.generators.base import Generator
from ilo.images import Box, as_levels, as_rgb, as_tensor, check_images, framed, opened
from ilo.recovery import recover
from ilo.solver import inputs
from ilo.solver.linear_start import linear_start
from ilo.solver.loop import progress_bar
from ilo.solver.result import RoundsResult
from ilo.solver.rounds import Round, SearchRound
from ilo.solver.schedules import paper_rounds

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")  # read by PyAV
MOVING = ("GIF", "WEBP", "PNG")  # formats of images that may be animated; others' further images are no frames
LATER = 0.2  # of the last round's steps, for every frame after the first
Frame = tuple[Tensor, Tensor, list[str], float]  # image (1, C, H, W), objective (1,), status, seconds


@dataclass(frozen=True)
class Film:
    """What was found for each frame.

    images: (T, C, H, W) in [−1, 1]. objective: (T,). status: one word per frame, as of `Result`.
    seconds: wall time of each frame, the first one's start included.
    first: the `RoundsResult` of the first frame.
    last: of the last frame: its state goes on with another piece of the same film.
    """

    images: Tensor
    objective: Tensor
    status: list[str]
    seconds: list[float]
    first: RoundsResult
    last: RoundsResult


def recover_frames(
    G: Generator,
    A: Callable[[Tensor], Tensor],
    frames: Tensor,
    *,
    rounds: Sequence[SearchRound] | None = None,
    later: Round | None = None,
    rng: int | torch.Generator = 0,
    restarts: int = 4,
    progress: bool = True,
) -> Film:
    """Recover the frames of a film from their measurements, one after the other.

    Args:
        G, A: as of `ilo.recover`. One operator measures all frames: it is not drawn anew for each.
        frames: measurements (T, ...), finite, in the order of time.
        rounds: of the first frame. None: `ilo.paper_rounds(G)`. A first round at layer 0 starts at `ilo.linear_start`.
        later: of every later frame, which starts at the input of its layer that the frame before ended at, with a
            fresh optimiser; its radius is that of the ball about it. None: the last of `rounds`, with a fifth of its
            steps. It must be at the layer of the last of `rounds`.
        rng: a seed for the starting latents of the first frame.
        restarts: starting latents of the first frame.
        progress: show a bar of frames (unless the environment sets TQDM_DISABLE).

    Raises:
        ValueError, TypeError: as `ilo.recover`; or `later` is at another layer, or no `Round`.
        KeyboardInterrupt, or what else ends it among the frames: its attribute `film` is then the `Film` of the frames
            found before, if there is one. In a notebook that was interrupted: ``sys.last_value.film``.
    """
    check_kind(G, Generator, "G")
    frames = inputs.checked_measurements(G, inputs.moved(A, G), frames)
    restarts = check_count(restarts, "restarts")
    chosen = paper_rounds(G) if rounds is None else list(check_kind(rounds, Sequence, "rounds"))
    inputs.check_rounds(G, chosen, restarts)
    later = _later(chosen, later)
    found: list[Frame] = []
    first = last = None
    try:
        with progress_bar(len(frames), progress) as bar:
            for y in frames.split(1):
                began = time.perf_counter()
                if last is None:
                    how: dict[str, Any] = {"rounds": chosen, "restarts": restarts, "rng": rng}
                    if chosen[0].layer == 0:
                        how["start"] = linear_start(G, A, y, restarts=restarts, rng=rng)
                    result = recover(G, A, y, **how, progress=False)
                else:
                    result = recover(G, A, y, rounds=[later], start=last.state, progress=False)
                frame = (result.images, result.objective, result.status, time.perf_counter() - began)
                found, first, last = [*found, frame], first or result, result  # at once: Ctrl-C may come at any time
                bar.update()
    except BaseException as error:
        if found:
            error.film = _film(found, first, last)
        raise
    return _film(found, first, last)


def _film(found: Sequence[Frame], first: RoundsResult, last: RoundsResult) -> Film:
    images, objective, status, seconds = zip(*found, strict=True)
    return Film(torch.cat(images), torch.cat(objective), [*chain(*status)], [*seconds], first, last)


def _later(rounds: Sequence[SearchRound], later: Round | None) -> Round:
    if later is None:
        last = rounds[-1]
        later = replace(last, steps=max(1, round(LATER * last.steps))) if isinstance(last, Round) else None
    if not isinstance(later, Round):
        raise ValueError(
            "the frames after the first need an ilo.Round, which starts where the one before ended: later="
        )
    if later.layer != rounds[-1].layer:
        raise ValueError(
            f"later frames start from the input of layer {rounds[-1].layer}, where the first frame ends, but later is "
            f"a round at layer {later.layer}"
        )
    return later


def flicker(images: Tensor, truth: Tensor) -> float:
    """Return how much the recovered frames change, over how much the true ones do; 1 is right, 0 stands still.

        mean |x̂_{t+1} − x̂_t| / mean |x_{t+1} − x_t|,   over frames, channels and pixels

    Args:
        images, truth: (T, C, H, W) in [−1, 1], T at least 2.

    Raises:
        ValueError: other shapes, a single frame, or true frames that are all alike.
    """
    check_images(images, "images")
    check_images(truth, "truth")
    if images.shape != truth.shape or len(truth) < 2:
        raise ValueError(f"flicker is of two films alike, of 2 frames or more: {(*images.shape,)}, {(*truth.shape,)}")
    moved = truth.double().diff(dim=0).abs().mean()
    if moved == 0:
        raise ValueError("the true film stands still: there is no change to compare with")
    return float(images.to(truth).double().diff(dim=0).abs().mean() / moved)


def is_film(path: str | Path) -> bool:
    """Whether a file is a video, by its suffix (`VIDEOS`), or an image that moves."""
    path = Path(path)
    if path.suffix.lower() in VIDEOS or not path.is_file():
        return path.suffix.lower() in VIDEOS
    try:
        with opened(path) as image:
            return getattr(image, "n_frames", 1) > 1 and image.format in MOVING
    except (OSError, ValueError):
        return False


def read_film(
    path: str | Path, size: int | None = None, crop: Box | None = None, first: int | None = None
) -> tuple[Tensor, float]:
    """Read the frames of a film, (T, 3, H, W) in [−1, 1], and how many are shown a second.

    Args:
        path: an animated GIF, WebP or PNG, or a video, for which PyAV must be installed.
        size, crop: of every frame, as of `ilo.images.read_image`.
        first: how many frames to read, from the beginning; None: all.

    Raises:
        FileNotFoundError: no such file.
        ModuleNotFoundError: a video, but no PyAV.
        ValueError: not a film, a broken one, or a crop that is not inside it.
    """
    path = Path(path)
    if first is not None:
        first = check_count(first, "first")
    if not path.exists():
        raise FileNotFoundError(f"no such film: {path}")
    shown, rate = _video(path) if path.suffix.lower() in VIDEOS else _animation(path)
    frames = [as_tensor(framed(frame, size, crop)) for frame in islice(shown, first)]
    if not frames:
        raise ValueError(f"{path} holds no frame")
    return torch.cat(frames), rate


def write_film(path: str | Path, frames: Tensor, rate: float = 10.0) -> None:
    """Write frames (T, 3, H, W) in [−1, 1] as an animated GIF, of 256 colours a frame, that starts again at its end.

    Args:
        rate: frames a second, from 0.1 to 50.

    Raises:
        ValueError: no frames of such a kind.
    """
    check_images(frames, "frames")
    rate = min(50.0, max(0.1, check_number(rate, "rate", 0)))
    shown = [Image.fromarray(frame) for frame in as_levels(frames)]
    with written_atomically(Path(path)) as temporary:
        shown[0].save(
            temporary, format="GIF", save_all=True, append_images=shown[1:], duration=round(1000 / rate), loop=0
        )


def _animation(path: Path) -> tuple[Iterator[Image.Image], float]:
    with opened(path) as image:
        duration = image.info.get("duration") or 100  # milliseconds a frame; 0: as fast as it can be shown

    def shown() -> Iterator[Image.Image]:
        with opened(path) as image:
            for frame in ImageSequence.Iterator(image):
                yield as_rgb(frame)

    return shown(), 1000 / duration


def _video(path: Path) -> tuple[Iterator[Image.Image], float]:
    try:
        import av
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"{path} is a video, which PyAV reads: pip install 'ilo[film]'", name="av") from None
    try:
        with av.open(str(path)) as container:
            rate = float(container.streams.video[0].average_rate or 25)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is not a video that can be read: {error}") from error

    def shown() -> Iterator[Image.Image]:
        try:
            with av.open(str(path)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_image()
        except av.FFmpegError as error:
            raise ValueError(f"{path} breaks off, or is not a video that can be read: {error}") from error

    return shown(), rate
