"""The grid on a Dask cluster: the same rows as in one process, and what happens when workers differ, fail or die."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch
from test_grid import back, breaks_on_noise, photos, run, search, tiny_generator, without_times

from ilo import study
from ilo.study import cells, cluster

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install -e '.[cluster]'")


@pytest.fixture(scope="module")
def address():
    with distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as started:
        yield started.scheduler_address


@pytest.fixture
def client(address):
    with distributed.Client(address) as connected:
        yield connected


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    yield
    torch.set_num_threads(before)


def where(A, y, *, G, rng, noise):
    """Which process computes."""
    return study.Answer(A.adjoint(y), {"process": os.getpid()})


def dies_once(flag, A, y, *, G, rng, noise):
    """Takes its worker down with it the first time, as a lack of memory does."""
    if not os.path.exists(flag):
        open(flag, "w").close()
        os._exit(1)
    return A.adjoint(y)


@pytest.mark.slow
def test_same_rows_as_without(client, tmp_path, one_thread):
    methods = {"ILO": search, "back": back}
    here = run(tmp_path / "here", methods=methods, keep_images=True)
    there = run(tmp_path / "there", methods=methods, keep_images=True, client=client)
    pd.testing.assert_frame_equal(without_times(here), without_times(there), check_exact=True)
    assert torch.equal(study.kept_images(there, tmp_path / "there"), study.kept_images(here, tmp_path / "here"))
    again = run(tmp_path / "here", methods=methods, client=client)
    pd.testing.assert_frame_equal(here, again)  # a cell is the same cell wherever it was computed


def test_workers_compute_and_both_of_them(client, tmp_path):
    rows = run(tmp_path, methods={"where": where}, seeds=range(4), client=client)
    assert os.getpid() not in set(rows["process"])
    assert rows["process"].nunique() == 2


def test_a_failed_cell_stops_no_other(client, tmp_path):
    with pytest.raises(study.StudyError, match="1 of 4 cells failed") as caught:
        run(
            tmp_path,
            photos(2),
            [study.denoising(0.5), study.denoising(0.05)],
            {"breaks": breaks_on_noise, "back": back},
            client=client,
        )
    assert "the method's own words" in str(caught.value)
    assert len(caught.value.rows) == 6
    assert "breaks_on_noise" in next(tmp_path.glob("*.error.txt")).read_text()


def test_a_worker_that_dies_costs_nothing_but_time(client, tmp_path):
    rows = run(tmp_path, methods={"m": partial(dies_once, str(tmp_path / "flag"))}, client=client)
    assert (tmp_path / "flag").exists()
    assert len(rows) == 10


def test_the_environment_names_a_scheduler(address, tmp_path, monkeypatch):
    monkeypatch.setenv("ILO_DASK", address)
    try:
        rows = run(tmp_path, photos(2), methods={"where": where})
        assert os.getpid() not in set(rows["process"])
        assert cluster.client_from_environment() is cluster.client_from_environment()
    finally:
        cluster.client_from_environment().close()
        cluster._client.cache_clear()


def test_no_scheduler_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "SECONDS_TO_START", 1)
    monkeypatch.setenv("ILO_DASK", "tcp://127.0.0.1:9")
    with pytest.raises(RuntimeError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        run(tmp_path)


def test_a_worker_with_other_code_is_refused():
    G, x = tiny_generator(), torch.stack(list(photos(1).values()))
    (cell, _), *_ = study.Grid(["a"], x, [study.denoising(0.1)], {"m": back}, G, lpips=False).cells("cpu")
    cells.compute(cell, x, G)
    with pytest.raises(RuntimeError, match="same versions"):
        cells.compute(replace(cell, code="of another revision"), x, G)


def test_workers_share_out_the_gpus_of_a_machine(monkeypatch):
    assert cluster.worker_device(3).type == "cpu" or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [cluster.worker_device(name) for name in (0, 1, 2, "3")] == [torch.device("cuda", i) for i in (0, 1, 0, 1)]
    assert cluster.worker_device("tcp://10.0.0.1:4") == torch.device("cuda", 0)


def test_a_generator_is_unpacked_once_as_it_was():
    G = tiny_generator()
    G.layers[-1].module[-2].to(memory_format=torch.channels_last)
    packed = cluster._packed(G)
    placed = cluster._placed(packed, torch.device("cpu"))
    assert cluster._placed(cluster._packed(G), torch.device("cpu")) is placed
    for mine, theirs in zip(G.parameters(), placed.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.stride() == theirs.stride()
    assert cluster._placed(packed, torch.device("meta")).device.type == "meta"
    assert cluster._placed(cluster._packed(None), torch.device("cpu")) is None


@pytest.mark.slow
def test_a_local_cluster_starts_and_stops():
    program = (
        "from ilo.study.cluster import local_cluster, devices\nfrom distributed import Client\n"
        "if __name__ == '__main__':\n"
        "    with local_cluster() as address, Client(address) as client:\n"
        "        print(devices(client), len(client.nthreads()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    device, workers = ended.stdout.split()
    assert device in ("cpu", "cuda")
    assert int(workers) == (torch.cuda.device_count() or cluster.cores())
