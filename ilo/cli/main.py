"""The commands of ``ilo``, and what becomes of their errors.

Exit codes: 0 success; 1 the work failed (a notebook, a download), or results moved; 2 the request was wrong (argparse's
own code too); 130 interrupted.
"""

import argparse
import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

# Each command, what it does in a line, and its module: `add_arguments(parser)` and `run(options) -> exit code`.
COMMANDS = {
    "recover": ("recover a photo from measurements", "ilo.cli.recover"),
    "convert": ("write a generator's checkpoint as safetensors", "ilo.cli.convert"),
    "fetch": ("download and verify the pre-trained parts", "ilo.cli.fetch"),
    "reproduce": ("run the experiments' notebooks, into runs/", "ilo.cli.reproduce"),
    "verify": ("compare a run's numbers with the committed ones", "ilo.cli.verify"),
    "publish": ("make a run the committed figures (for maintainers)", "ilo.cli.publish"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks × shows an escape in its place
            stream.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    try:
        with _terminated_as_interrupted():
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
    parser = argparse.ArgumentParser(
        prog="ilo", description="Intermediate Layer Optimization: inverse problems with a pre-trained generator."
    )
    parser.add_argument("--version", action="version", version=f"ilo {version('ilo')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=CommandParser)
    for name, (about, module) in COMMANDS.items():
        commands.add_parser(name, help=about, module=module)
    return parser


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, which imports the command's module when it is asked for.

    So `ilo --help` need not wait for torch, which the table of tasks brings with it.
    """

    def __init__(self, *, module: str, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._module: str | None = module

    def parse_known_args(self, args=None, namespace=None):
        if self._module is not None:
            command = importlib.import_module(self._module)
            self._module = None
            self.description = command.DESCRIPTION
            command.add_arguments(self)
            self.set_defaults(run=command.run)
        return super().parse_known_args(args, namespace)


if __name__ == "__main__":
    sys.exit(main())
