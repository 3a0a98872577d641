"""Saved results: a checksum, damage that is noticed, older files that are read, and records without addresses."""

import json
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import ilo
from ilo import Round
from ilo.solver import inputs


@pytest.fixture(scope="module")
def saved(dcgan, tmp_path_factory):
    y = torch.zeros(1, *dcgan.image_shape)
    result = ilo.recover(dcgan, ilo.operators.Identity(dcgan.image_shape), y, rounds=[Round(0, 2)], progress=False)
    return result.save(tmp_path_factory.mktemp("saved") / "result.safetensors")


@pytest.mark.parametrize("place", ["images", "status", "layer", "history.05.objective", "parameters"])
def test_a_changed_bit_of_a_saved_result_is_noticed(saved, tmp_path, place):
    data = bytearray(saved.read_bytes())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if place in header:
        at = 8 + size + header[place]["data_offsets"][0] + 1
    else:
        at = data.index(f'"{place}":"'.encode()) + len(place) + 4
        at += {"status": 3, "parameters": 5}.get(place, 0)  # inside a word
    data[at] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        ilo.load_result(damaged)


def rewritten(saved, path, change, older):
    """The file with other contents; `older`: as the first version wrote it, without a checksum."""
    with safe_open(saved, framework="pt") as file:
        words, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors, words)
    if older:
        words = {**words, "format": "ilo-result-1"}
        del words["sha256"]
    save_file(tensors, path, metadata=words)
    return path


def test_a_result_without_a_checksum_is_an_older_one_and_read(saved, tmp_path):
    old = rewritten(saved, tmp_path / "old.safetensors", lambda tensors, words: None, older=True)
    assert torch.equal(ilo.load_result(old).images, ilo.load_result(saved).images)
    new = rewritten(saved, tmp_path / "new.safetensors", lambda tensors, words: words.pop("sha256"), older=False)
    with pytest.raises(ValueError, match="damaged"):
        ilo.load_result(new)


DAMAGES = {
    "NaN": lambda tensors, words: tensors["images"].view(-1)[5:6].fill_(torch.nan),
    "missing": lambda tensors, words: tensors.pop("images"),
    "objective of two": lambda tensors, words: tensors.update(objective=torch.zeros(2)),
    "flat images": lambda tensors, words: tensors.update(images=tensors["images"].flatten().clone()),
    "whole numbers": lambda tensors, words: tensors.update(images=tensors["images"].long()),
    "no state": lambda tensors, words: tensors.pop("state.features"),
    "no history": lambda tensors, words: [tensors.pop(n) for n in list(tensors) if n.startswith("history.")],
    "uneven history": lambda tensors, words: tensors.update({"history.00.round": torch.zeros(1)}),
    "layer": lambda tensors, words: words.update(layer="first"),
    "no layer": lambda tensors, words: words.pop("layer"),
    "status": lambda tensors, words: words.update(status="[]"),
    "status of letters": lambda tensors, words: words.update(status="{"),
    "parameters": lambda tensors, words: words.update(parameters="1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_older_result_that_is_damaged_is_refused_by_name(saved, tmp_path, damage):
    path = rewritten(saved, tmp_path / "old.safetensors", DAMAGES[damage], older=True)
    with pytest.raises(ValueError, match=r"old\.safetensors is a damaged result"):
        ilo.load_result(path)


def test_parameters_hold_no_addresses(dcgan):
    A, y = ilo.operators.Identity(dcgan.image_shape), torch.zeros(1, *dcgan.image_shape)
    schedule, constraint = (
        partial(torch.clamp, max=partial(max, 1.0)),
        {"features": partial(ilo.project_l2_ball, radius=3.0)},
    )
    rounds = [Round(0, 1, schedule=partial(lambda t, scale: scale, scale=0.5), constraint=None)]
    told = ilo.recover(dcgan, A, y, rounds=rounds, progress=False).parameters
    assert "0x" not in str(told)
    assert "scale=0.5" in str(told)
    assert "0x" not in inputs.words(Round(0, 1, schedule=schedule, constraint=constraint))
    assert "0x" not in inputs.words(object())


def test_a_loaded_result_outlives_its_file(saved, tmp_path):
    """Its numbers are copies: reading from a mapped file that somebody shortens would end the process."""
    path = tmp_path / "result.safetensors"
    path.write_bytes(saved.read_bytes())
    loaded = ilo.load_result(path)
    path.write_bytes(b"")
    assert torch.equal(loaded.images, ilo.load_result(saved).images)
