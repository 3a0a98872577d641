"""The commands of ``ilo``, and what becomes of their errors.

Exit codes: 0 success; 1 the work failed (a notebook, a download), or results moved; 2 the request was wrong (argparse's
own code too); 130 interrupted.
"""

import argparse
import importlib
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import NoReturn

# Each command, what it does in a line, and its module: `add_arguments(parser)` and `run(options) -> exit code`.
COMMANDS = {
    "recover": ("recover a photo from measurements", "ilo.cli.recover"),
    "convert": ("write a generator's checkpoint as safetensors", "ilo.cli.convert"),
    "fetch": ("download and verify the pre-trained parts", "ilo.cli.fetch"),
    "generators": ("list the generators that have a name", "ilo.cli.generators"),
    "reproduce": ("run the experiments' notebooks, into runs/", "ilo.cli.reproduce"),
    "verify": ("compare a run's numbers with the committed ones", "ilo.cli.verify"),
    "report": ("show the last runs beside what is committed, as a page", "ilo.cli.report"),
    "publish": ("make a run the committed figures (for maintainers)", "ilo.cli.publish"),
    "doctor": ("say what is here, what is missing and how to get it", "ilo.cli.doctor"),
    "completion": ("print what completes these words in your shell", "ilo.cli.completion"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks × shows an escape in its place
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminated_as_interrupted():
            options = build_parser().parse_args(arguments)  # which imports torch: seconds in which one may think better
            return options.run(options)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        # what the user can mend reads as a sentence; anything else is a fault of ours and keeps its traceback
        print(f"ilo: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    except KeyboardInterrupt:
        print("ilo: interrupted", file=sys.stderr)
        return 130


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, so that what is half-written goes and notebooks end too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ilo", description="Intermediate Layer Optimization: inverse problems with a pre-trained generator."
    )
    parser.add_argument("--version", action="version", version=f"ilo {version('ilo')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=CommandParser)
    for name, (about, module) in COMMANDS.items():
        commands.add_parser(name, help=about, module=module)
    return parser


class Help(argparse.HelpFormatter):
    """Fits the terminal: paragraphs are filled, lines that begin with a space (examples) stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled: list[str] = []
        for line in text.splitlines():
            if filled and line and not line.startswith(" ") and filled[-1] and not filled[-1].startswith(" "):
                filled[-1] += f" {line}"
            else:
                filled.append(line)
        return "\n".join(
            line if line.startswith(" ") else textwrap.fill(line, width, break_on_hyphens=False) for line in filled
        )


class Parser(argparse.ArgumentParser):
    """Tells a mistake on one line, where argparse prints twelve of usage before it."""

    def __init__(self, **options):
        super().__init__(formatter_class=Help, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class CommandParser(Parser):
    """The parser of one command, which imports the command's module when it is asked for.

    So `ilo --help` need not wait for torch, which the table of tasks brings with it.
    """

    def __init__(self, *, module: str, **options):
        super().__init__(**options)
        self._module: str | None = module

    def fill(self) -> None:
        """Import the module and take its description and arguments, the first time."""
        if self._module is not None:
            command = importlib.import_module(self._module)
            self._module = None
            self.description = command.DESCRIPTION
            command.add_arguments(self)
            self.set_defaults(run=command.run)

    def parse_known_args(self, args=None, namespace=None):
        self.fill()
        return super().parse_known_args(args, namespace)


if __name__ == "__main__":
    sys.exit(main())
