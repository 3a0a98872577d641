"""Dask: where a grid's cells run when not in this process. Needs the extra: pip install -e '.[cluster]'."""

import functools
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from ilo.generators.base import Generator
from ilo.study.cells import Cell, Record, compute

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


def check_scheduler(address: str) -> None:
    """Raise ValueError unless something listens at a scheduler's address: in 5 seconds, where Dask waits for 60."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        if parts.hostname is None or parts.port is None:
            raise ValueError("expected tcp://HOST:PORT")
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address!r}: {error}") from error


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
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None, "silence_logs": logging.ERROR}
    with distributed.LocalCluster(workers, **options) as cluster:
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
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # it is sent once
        shared = client.submit(_same, _packed(G), pure=False)
    chunks = {key: client.submit(_same, _packed(x), pure=False) for key, x in {id(x): x for _, x in todo}.items()}
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


def compute_on_worker(cell: Cell, truth: bytes, G: bytes) -> Record:
    """Compute a cell in a worker, on its GPU if it has one; `truth` and `G` are pickled."""
    from distributed import get_worker

    return compute(cell, pickle.loads(truth), _placed(G, worker_device(get_worker().name)))


def worker_device(name: Any) -> torch.device:
    """The device of the worker of this name. Workers on a machine of several GPUs, which all of them see, are numbered
    by `local_cluster` and share them out; start your own with one GPU in CUDA_VISIBLE_DEVICES each."""
    count = torch.cuda.device_count()
    if count == 0:
        return torch.device("cpu")
    number = int(name) if str(name).isdigit() else 0
    return torch.device("cuda", number % count)


def _packed(value: Any) -> bytes:
    """Pickled, by value where a notebook defines it. Dask's own way with tensors, between workers, loses their strides:
    the numbers are the same, but convolutions round them in another order."""
    import cloudpickle  # comes with Dask

    return cloudpickle.dumps(value)


def _same(value: Any) -> Any:
    return value


_last_placed: list[tuple[bytes, torch.device, Generator | None]] = []


def _placed(packed: bytes, device: torch.device) -> Generator | None:
    """The generator on the device; the last one is kept for the next cell."""
    if not (_last_placed and _last_placed[0][:2] == (packed, device)):
        G = pickle.loads(packed)
        _last_placed[:] = [(packed, device, None if G is None else G.to(device))]
    return _last_placed[0][2]


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
