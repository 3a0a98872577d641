"""Run a module as ``python -m`` does, until it ends or the process that started it does, however that died.

    python -m ilo.watched MODULE ARGUMENTS …

Whoever starts it holds the other end of its standard input, which the system closes with that process.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
