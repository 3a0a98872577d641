"""What ``ilo recover`` is to recover: the operator and the measurements that its options ask for."""

import argparse
import sys
from dataclasses import dataclass

from torch import Tensor

from ilo import operators
from ilo.images import Box, is_transparent, read_image, read_seen
from ilo.operators import LinearOperator
from ilo.operators.tasks import TASKS

SMALL = 64  # pixels a side: no generator makes smaller images


@dataclass(frozen=True)
class Measured:
    """The operator, the measurements (1, …), and the truth (1, C, H, W) in [−1, 1] where there is one."""

    A: LinearOperator
    y: Tensor
    truth: Tensor | None
    noise: float | None  # that the program added


def add_arguments(group) -> None:
    """The options of every task's level, and of the photo. An option that is not given is None: see `settle`."""
    for name in dict.fromkeys(task.option for task in TASKS.values() if task.option not in ("", "noise")):
        users = {key: task for key, task in TASKS.items() if task.option == name}
        first = next(iter(users.values()))
        said = f"{', '.join(users)}: {first.meaning} (default: {first.default:g})"
        group.add_argument(f"--{name}", type=type(first.default), help=said)
    for key, task in TASKS.items():
        for name, choices in task.options.items():
            group.add_argument(f"--{name}", choices=choices, help=f"{key} (default: {choices[0]})")
    noises = ", ".join(f"{key}: {task.default:g}" for key, task in TASKS.items() if task.level == "noise")
    group.add_argument("--noise", type=float, help=f"standard deviation of the noise added (default: 0.02; {noises})")


def settle(options: argparse.Namespace) -> None:
    """Fill in the defaults of the task; ValueError for an option that would do nothing."""
    task = TASKS[options.task]
    own = {task.option, *task.options} - {""}
    named = {name for other in TASKS.values() for name in (other.option, *other.options)} - {"", "noise"}
    if stray := [f"--{name}" for name in sorted(named - own) if getattr(options, name) is not None]:
        raise ValueError(f"{' and '.join(stray)} cannot go with --task {options.task}")
    if options.mask is not None:
        if options.task != "inpaint":
            raise ValueError("--mask goes with --task inpaint")
        if getattr(options, task.option) is not None:
            raise ValueError("--keep draws pixels at random: it cannot go with --mask, which says which are seen")
    given = options.mask is not None or options.measured
    if given and options.noise is not None:
        raise ValueError("--noise is added by the program: of measurements that are given, say it by --noise-known")
    if options.mask is None and task.option not in ("", "noise") and getattr(options, task.option) is None:
        setattr(options, task.option, task.default)
    for name, choices in task.options.items():
        if getattr(options, name) is None:
            setattr(options, name, choices[0])
    if options.noise is None and not given:
        options.noise = task.default if task.level == "noise" else task.noise


def look_at(options: argparse.Namespace) -> Tensor:
    """Read the photo and the mask, before the minutes of work; say what of them will not be as it looks.

    Return the photo, (1, 3, H, W) in [−1, 1], or what a crop in pixels leaves of it.

    FileNotFoundError, ValueError: as `read_image`.
    """
    crop = None if isinstance(options.crop, str) else options.crop  # a face is looked for when the photo is read
    photo = read_image(options.photo, crop=crop)
    if options.mask is not None:
        read_seen(options.photo, options.mask, crop=crop)
    elif is_transparent(options.photo):
        warn("the photo has transparent pixels, which are taken for white: if they are holes, say so by --mask")
    side = min(photo.shape[-2:])
    if side < SMALL and not options.measured:
        warn(f"the photo is {photo.shape[-1]}×{photo.shape[-2]} pixels, and will be enlarged: its details are made up")
    return photo


def warn(text: str) -> None:
    print(f"ilo: {text}", file=sys.stderr, flush=True)


def measured(options: argparse.Namespace, shape: tuple[int, int, int], crop: Box | None) -> Measured:
    """Read the photo and measure it, or take it for the measurements. `options` are settled; shape: the generator's."""
    if options.mask is not None:
        photo, seen = read_seen(options.photo, options.mask, size=shape[-1], crop=crop)
        A = operators.Inpainting(seen, channels=shape[0])
        return Measured(A, A(photo), None, None)
    A = operator_of(options, shape)
    if options.measured:
        return Measured(A, _photo_as_measurements(options, A, crop), None, None)
    truth = read_image(options.photo, size=shape[-1], crop=crop)
    y = operators.measure(A, truth, noise=options.noise, rng=options.seed)
    return Measured(A, y, truth, options.noise)


def operator_of(options: argparse.Namespace, shape: tuple[int, int, int]) -> LinearOperator:
    """The operator of the task, for images of `shape`; ValueError for a level that it does not have."""
    task = TASKS[options.task]
    level = getattr(options, task.option) if task.option else None
    chosen = {name: getattr(options, name) for name in task.options}
    try:
        return task.operator(level, **chosen)(shape, rng=options.seed)
    except ValueError as error:
        raise ValueError(f"--{task.option} {level}: {error}" if task.option else str(error)) from None


def _photo_as_measurements(options: argparse.Namespace, A: LinearOperator, crop: Box | None) -> Tensor:
    """Read a photo that is itself the measurements: its size must be what the operator gives, or a face is cut out."""
    if len(A.shape_out) != 3:
        raise ValueError(
            f"--measured does not go with --task {options.task}: an image file cannot hold its measurements "
            "(for a photo with holes give --mask)"
        )
    channels, height, width = A.shape_out
    fitted = width if isinstance(options.crop, str) else None  # nobody can choose the size of a face in a photo
    photo = read_image(options.photo, size=fitted, crop=crop)
    if tuple(photo.shape[-2:]) != (height, width):
        raise ValueError(
            f"{options.photo} is {photo.shape[-1]}×{photo.shape[-2]}, but --task {options.task} on this generator "
            f"measures {width}×{height} pixels: crop it by --crop, or resize it to that"
        )
    return photo.mean(1, keepdim=True) if channels == 1 else photo
