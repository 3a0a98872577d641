"""Open checkpoints, each in a process of its own, and say how that ended and what it took.

    python measure.py FOLDER    a line of JSON for every file: its name, what was raised, seconds, megabytes

A child that is forked has all modules loaded, and its memory at the beginning is the baseline. Where there is no fork
(Windows), the files are opened one after the other in this process, and megabytes are null.
"""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import torch

import ilo.generators
from ilo.generators.stylegan.random import random_stylegan2

PATIENCE = 60.0  # seconds by the clock, after which a child is killed
MOST_MEMORY = 4 * 2**30  # bytes, with which it is killed before the machine has none left


def opened(path: Path) -> dict:
    """Open `path`; {"raised": the exception's type or "", "said": its message, "seconds": …}.

    Seconds are the processor's: a busy machine is slow, not wrong.
    """
    raised = said = ""
    began = time.process_time()
    try:
        ilo.generators.load(path)
    except BaseException as error:
        raised, said = type(error).__name__, str(error)
    return {"name": path.name, "raised": raised, "said": said[:2000], "seconds": time.process_time() - began}


def in_a_child(path: Path) -> dict:
    """`opened`, with "megabytes" that it took beside the baseline; "raised" names a signal if one ended it."""
    read_end, write_end = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        before = most_memory()
        answer = opened(path)
        answer["megabytes"] = (most_memory() - before) / 2**20
        with os.fdopen(write_end, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(write_end)
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.perf_counter() - began > PATIENCE or memory(child) > MOST_MEMORY:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    seconds = time.perf_counter() - began
    nothing = {"name": path.name, "said": "", "seconds": seconds, "megabytes": None}
    return json.loads(text) if text else {**nothing, "raised": f"the process ended with status {ended[1]}"}


def most_memory() -> int:
    """The most bytes that this process had so far."""
    import resource  # POSIX alone has it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory(process: int) -> int:
    """Bytes that another process has, where /proc tells."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main(folder: Path) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)  # threads do not outlive a fork
    warm = folder / "honest"
    torch.save(random_stylegan2(8, channel_base=16, channel_max=3, z_dim=4, w_dim=5), warm)
    assert opened(warm)["raised"] == "", opened(warm)
    for path in sorted(set(folder.iterdir()) - {warm}):
        answer = in_a_child(path) if hasattr(os, "fork") else opened(path)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
