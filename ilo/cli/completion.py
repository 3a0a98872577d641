"""``ilo completion``: what the shell completes after ``ilo``, as a script of the shell's own."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Print a script by which a shell completes commands, options, choices and file names. It is made once and asks no Python
afterwards. To have it in every new shell:
  bash   ilo completion bash > ~/.local/share/bash-completion/completions/ilo
  zsh    ilo completion zsh > ~/.zfunc/_ilo   (a folder of $fpath)
  fish   ilo completion fish > ~/.config/fish/completions/ilo.fish
Or in this one alone: source <(ilo completion bash)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"))


def run(options: argparse.Namespace) -> int:
    try:
        import shtab
    except ModuleNotFoundError:
        raise RuntimeError(
            "completion needs shtab, a requirement of ilo's that is missing: ilo doctor says all"
        ) from None

    from ilo.cli.main import build_parser

    parser = build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
    for command in commands.values():
        command.fill()
        for action in command._actions:
            if action.type is Path:
                action.complete = shtab.FILE
    print(shtab.complete(parser, options.shell))
    return 0
