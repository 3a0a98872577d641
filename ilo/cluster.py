"""Dask: where a grid's cells run when not in this process. Needs the extra: pip install -e '.[cluster]'."""

import copy
import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ilo.cells import Cell, Record, compute
from ilo.generators.base import Generator

VARIABLE = "ILO_DASK"  # a scheduler's address, for every grid of the process that is not handed a client
SECONDS_TO_START = 60


def client_from_environment() -> Any | None:
    """Return the client of the scheduler that ILO_DASK names, one a process; None if it names none."""
    address = os.environ.get(VARIABLE, "")
    return _client(address) if address else None


@functools.cache
def _client(address: str) -> Any:
    distributed = _distributed()
    try:
        return distributed.Client(address, timeout=SECONDS_TO_START)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"no Dask scheduler answers at {address!r}: {error}") from error


def cores() -> int:
    """Cores that this process may use: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_cluster() -> Iterator[str]:
    """Start workers on this machine, one a GPU or else one a core; give the scheduler's address; stop them at the end.

    Each worker computes one cell at a time, on one core or its GPU.
    """
    distributed = _distributed()
    workers = torch.cuda.device_count() or cores()
    with distributed.LocalCluster(workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def devices(client: Any) -> str:
    """The kinds of device that the workers compute on: "cpu", "cuda" or "cpu+cuda"."""
    distributed = _distributed()
    try:
        client.wait_for_workers(1, timeout=SECONDS_TO_START)
    except (TimeoutError, distributed.TimeoutError):
        raise RuntimeError(f"the Dask scheduler has had no workers for {SECONDS_TO_START} s: start some") from None
    return "+".join(sorted(set(client.run(_device_type).values())))


def compute_all(
    client: Any, todo: Sequence[tuple[Cell, Tensor]], G: Generator | None
) -> Iterator[tuple[Cell, Record | BaseException]]:
    """Compute cells on the workers, a few ahead of them, and yield each as it is done: its record, or its error.

    Images and generator go to the scheduler once. They are results of tasks, which, unlike scattered data, are made
    again when the worker that held them dies; so is a cell that it was computing.
    """
    waiting = iter(todo)
    shared = client.submit(_same, G, pure=False)
    chunks = {key: client.submit(_same, x, pure=False) for key, x in {id(x): x for _, x in todo}.items()}
    running = {}

    def submit(n: int) -> list[Any]:
        new = {}
        for cell, x in islice(waiting, n):
            new[client.submit(compute_on_worker, cell, chunks[id(x)], shared, pure=False)] = cell
        running.update(new)
        return list(new)

    try:
        done = _distributed().as_completed(submit(2 * max(1, sum(client.nthreads().values()))))
        for future in done:
            cell = running.pop(future)
            error = future.exception()
            yield cell, future.result() if error is None else error
            for new in submit(1):
                done.add(new)
    finally:
        client.cancel(list(running))


def compute_on_worker(cell: Cell, truth: Tensor, G: Generator | None) -> Record:
    """Compute a cell in a worker, on its GPU if it has one."""
    from distributed import get_worker

    device = worker_device(get_worker().name)
    # Tensors arrive at odd addresses, where the processor's libraries round otherwise than where torch puts a copy.
    return compute(cell, truth.clone(), None if G is None else _placed(G, device))


def worker_device(name: Any) -> torch.device:
    """The device of the worker of this name. Workers on a machine of several GPUs, which all of them see, are numbered
    by `local_cluster` and share them out; start your own with one GPU in CUDA_VISIBLE_DEVICES each."""
    count = torch.cuda.device_count()
    if count == 0:
        return torch.device("cpu")
    number = int(name) if str(name).isdigit() else 0
    return torch.device("cuda", number % count)


def _same(value: Any) -> Any:
    return value


_last_placed: list[tuple[Generator, Generator]] = []


def _placed(G: Generator, device: torch.device) -> Generator:
    """A copy of G on the device, kept for the next cell."""
    if not (_last_placed and _last_placed[0][0] is G and _last_placed[0][1].device == device):
        _last_placed[:] = [(G, copy.deepcopy(G).to(device))]
    return _last_placed[0][1]


def _device_type() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as missing:
        raise RuntimeError(
            f"a Dask cluster needs dask and distributed: pip install -e '.[cluster]' ({missing})"
        ) from None
    return distributed
