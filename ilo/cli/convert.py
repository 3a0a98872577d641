"""``ilo convert``: a checkpoint becomes a safetensors file, and nothing in it is run."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Read a checkpoint (NVIDIA's .pkl of StyleGAN, StyleGAN2 or StyleGAN3, rosinality's, PULSE's, lernapparat's or
genforce's .pt, BigGAN-PyTorch's .pth, safetensors), recognised by what it holds and not by its name, and write its
generator as safetensors. Nothing in the file is run: a pickle that asks for anything but weights is refused (exit
code 2).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="checkpoint file")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="the mapping network, if it is a file of its own")
    parser.add_argument("target", type=Path, help="safetensors file to write; replaced as a whole if it exists")


def run(options: argparse.Namespace) -> int:
    from ilo.generators import convert

    if options.target.is_dir():
        raise ValueError(f"{options.target} is a folder: name the file to write, such as generator.safetensors")
    checkpoint = convert(options.source, options.target, options.mapping)
    print(f"{options.source}: {checkpoint.describe()}")
    print(f"wrote {options.target}; use it by: ilo recover photo.jpg --generator {options.target}")
    return 0
