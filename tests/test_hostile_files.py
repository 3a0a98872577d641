"""Checkpoints that are out to harm are refused, soon and in little memory; in others, the wrong tensor is named.

The files are those of tests/abuse, of which `make abuse` tries all.
"""

import json
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from abuse import REFUSED, WORKED, Trial, __main__, altered, assemble, crafted, files
from golden_files import draw

import ilo.generators
from ilo.generators.biggan_layers import biggan
from ilo.generators.checkpoints import tensors
from ilo.generators.checkpoints.read import read_checkpoint
from ilo.generators.dcgan_layers import dcgan, dcgan_table
from ilo.generators.fit import fit, numbered, same_dtype
from ilo.generators.labels import label_vector
from ilo.generators.stylegan.build import stylegan2

FORMATS = altered.formats()


def wrong(trials: list[Trial]) -> list[str]:
    return [f"{t.kind}: {t.name}: {t.outcome}" for t in trials if t.outcome not in (REFUSED, WORKED)]


# --- what asks for time, memory or depth ---


@pytest.mark.slow
def test_every_crafted_file_is_refused_soon_and_in_little_memory(tmp_path):
    trials = list(files.crafted_files(tmp_path / "crafted"))
    assert wrong(trials) == []
    assert len(trials) >= 140
    assert {trial.outcome for trial in trials} == {REFUSED}


@pytest.mark.slow
def test_what_opening_takes_is_measured(tmp_path):
    torch.save(altered.drawn(dcgan_table(), other=1), tmp_path / "G")
    (tmp_path / "H").write_bytes(b"no checkpoint")
    command = [sys.executable, str(files.FOLDER / "measure.py"), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    honest, other = map(json.loads, said.splitlines())
    assert (honest["raised"], other["raised"]) == ("", "ValueError")
    assert honest["seconds"] > 0
    if honest.get("megabytes") is not None:  # where processes can be forked
        assert honest["megabytes"] > 13 > other["megabytes"]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, REFUSED),
        ({"raised": ""}, "nothing was raised"),
        ({"raised": "KeyError"}, "KeyError was raised"),
        ({"raised": "the process ended with status 11"}, "status 11"),
        ({"said": "was refused, and nothing in it was run: set weights_only=False"}, "it says"),
        ({"said": "no"}, "it says"),
        ({"seconds": 2.5}, "it takes 2.5 s"),
        ({"megabytes": 600.0}, "600 MB"),
    ],
)
def test_a_verdict_can_be_bad(change, outcome):
    good = {
        "raised": "ValueError",
        "said": "g was refused, and nothing in it was run: why",
        "seconds": 0.1,
        "megabytes": 3.0,
    }
    assert outcome in files.verdict(good | change)


def test_what_stands_for_torchs_names_cannot_be_changed_by_a_file(tmp_path):
    """BUILD sets attributes, which on a function would be its defaults, for every file after this one."""
    state = assemble.table((assemble.text("__defaults__"), b")"), (assemble.text("x"), b"N"))
    before = {key: dict(getattr(value, "__dict__", {})) for key, value in tensors.NAMES.items()}
    for name in tensors.NAMES:
        opcodes = assemble.name(*name) + state + b"b" + assemble.name(*name) + b"N" + state + b"\x86b0"
        (tmp_path / "g").write_bytes(crafted.nvidia(opcodes))
        with pytest.raises(ValueError, match="was refused"):
            read_checkpoint(tmp_path / "g")
    assert {key: dict(getattr(value, "__dict__", {})) for key, value in tensors.NAMES.items()} == before
    assert tensors._view.__defaults__ is None


class Nested:
    def __reduce__(self):
        return torch.storage._load_from_bytes, (assemble.storage_bytes({"a": print}),)


def test_no_refusal_passes_on_the_advice_to_run_the_file(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.warns(DeprecationWarning, match="torch.jit.s"):
        torch.jit.save(torch.jit.script(network), tmp_path / "script")
    torch.save(network, tmp_path / "module")
    torch.save(network, tmp_path / "older module", _use_new_zipfile_serialization=False)
    torch.save({"g_ema": Nested()}, tmp_path / "storage")
    (tmp_path / "pickled storage").write_bytes(pickle.dumps({"G_ema": Nested()}))
    (tmp_path / "tape").write_bytes(crafted.older()["a tape archive"]())
    reasons = {}
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match="was refused, and nothing in it was run") as caught:
            ilo.generators.load(path)
        reasons[path.name] = str(caught.value)
    assert len(reasons) == 6
    assert [text for text in reasons.values() if "weights_only" in text or "safe_globals" in text] == []
    assert "TorchScript" in reasons["script"]
    assert "it asks for torch.nn.modules.container.Sequential" in reasons["module"]
    assert "it asks for __builtin__.print" in reasons["pickled storage"]


def test_a_refusal_prints_no_letters_that_steer_a_terminal(tmp_path):
    torch.save({"\x1b[31m\n" * 1000: torch.zeros(1)}, tmp_path / "g")
    with pytest.raises(ValueError, match="its first tensors") as caught:
        read_checkpoint(tmp_path / "g")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


# --- one tensor wrong ---


@pytest.mark.slow
def test_one_altered_tensor_is_named_or_of_use(tmp_path):
    cases = random.Random(14).sample(list(altered.cases(FORMATS)), 600)
    trials = []
    for title, name, change, make in cases:
        outcome = altered.outcome(FORMATS[title], name, change, make, tmp_path / "g")
        trials.append(Trial(title, f"{name} {change}", outcome))
    assert wrong(trials) == []
    counts = Counter((trial.kind, trial.outcome) for trial in trials)
    assert all(counts[title, REFUSED] > 10 and counts[title, WORKED] > 0 for title in FORMATS), counts


@pytest.mark.parametrize("title", FORMATS)
def test_the_files_that_are_altered_are_good_ones(tmp_path, title):
    form = FORMATS[title]
    form.write(form.weights, tmp_path / "g")
    G = ilo.generators.load(tmp_path / "g")
    assert G(G.sample(2, 0)).isfinite().all()


@pytest.mark.parametrize(
    ("title", "name", "change"),
    [
        ("DCGAN", "main.3.weight", "float8"),
        ("BigGAN", "linear.weight", "transposed"),
        ("BigGAN", "blocks.0.0.bn1.gain.weight", "sparse"),
        ("NVIDIA", "mapping.fc0.weight", "meta"),
        ("rosinality", "convs.0.conv.weight", "jagged"),
        ("safetensors", "synthesis.b8.conv0.affine.bias", "longer"),
        ("rosinality, older", "to_rgb1.bias", "quantised"),
    ],
)
def test_the_wrong_tensor_is_the_one_that_a_message_begins_with(tmp_path, title, name, change):
    form = FORMATS[title]
    make = next(make for label, make in altered.variants(form.weights[name], altered.KINDS) if change in label)
    form.write(form.weights | {name: make()}, tmp_path / "g")
    with pytest.raises(ValueError, match=rf", but {name} (is|has) "):
        ilo.generators.load(tmp_path / "g")


def test_random_pickles_and_damaged_files_are_refused_or_read(tmp_path):
    rng = random.Random(14)
    trials = [*files.random_files(rng, tmp_path / "g", 300), *files.damaged_files(rng, tmp_path / "g", FORMATS, 200)]
    assert wrong(trials) == []
    assert Counter(trial.outcome for trial in trials)[REFUSED] > 350


@pytest.mark.parametrize(
    ("title", "name", "message"),
    [
        ("BigGAN", "blocks.0.0.bn1.stored_var", "holds variances that are negative"),
        ("DCGAN", "main.4.running_var", "holds variances that are negative"),
        ("NVIDIA", "synthesis.b8.conv0.bias", "holds NaN or infinite values"),
    ],
)
def test_values_that_give_no_image_are_refused(tmp_path, title, name, message):
    form = FORMATS[title]
    value = torch.full_like(form.weights[name], -1 if "negative" in message else torch.nan)
    form.write(form.weights | {name: value}, tmp_path / "g")
    with pytest.raises(ValueError, match=f"{name} {message}"):
        ilo.generators.load(tmp_path / "g")


def test_builders_name_what_does_not_fit_too():
    for title, build, name in (
        ("DCGAN", dcgan, "main.6.weight"),
        ("BigGAN", biggan, "blocks.1.0.conv2.weight"),
        ("safetensors", stylegan2, "synthesis.b8.conv1.weight"),
    ):
        weights = FORMATS[title].weights
        for value in (weights[name][..., :1], weights[name].long(), weights[name].to_sparse()):
            with pytest.raises(ValueError, match=f", but {name} (is|has)"):
                build(weights | {name: value})
        if build is not dcgan:
            with pytest.raises(ValueError, match=f"{name} is of torch.float64, and others of torch.float32"):
                build(weights | {name: weights[name].double()})
    with pytest.raises(ValueError, match=r"that has no main.0.bias"):
        dcgan(FORMATS["DCGAN"].weights | {"main.0.bias": torch.zeros(512)})
    for clamp in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="clamp must be a positive number"):
            stylegan2(FORMATS["NVIDIA"].weights, clamp=clamp)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), "many", 10**400, True - 1])
def test_a_setting_that_is_no_positive_number_is_refused(tmp_path, value):
    from nvidia_writer import nvidia_pickle

    for module, setting in (("synthesis.b4.conv1", "conv_clamp"), ("mapping.fc0", "bias_gain")):
        (tmp_path / "g").write_bytes(nvidia_pickle(FORMATS["NVIDIA"].weights, {module: {setting: value}}))
        with pytest.raises(ValueError, match=f"its setting {module}.{setting} is no positive number"):
            ilo.generators.load(tmp_path / "g")


# --- the table ---

TABLE = {"a.weight": ("hidden", "z"), "a.bias": ("hidden",), "b.weight": (2, "hidden"), "gain": ()}


def network(**changes) -> dict:
    shapes = {"a.weight": (5, 3), "a.bias": (5,), "b.weight": (2, 5), "gain": ()}
    return {name: torch.zeros(shape) for name, shape in (shapes | changes).items() if shape is not None}


def test_sizes_that_a_table_leaves_open_are_found():
    assert fit(network(), TABLE, "it") == {"hidden": 5, "z": 3}
    assert fit(network(gain=(1,), other=(7,)), TABLE, "it") == {"hidden": 5, "z": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a.bias": (6,)}, r"it, but a.bias has the shape \(6,\), expected \(5,\) \(as a.weight has \(5, 3\)\)"),
        ({"a.weight": (6, 3)}, r"it, but a.weight has the shape \(6, 3\), expected \(5, 3\) \(as a.bias"),
        ({"b.weight": (3, 5)}, r"it, but b.weight has the shape \(3, 5\), expected \(2, 5\)"),
        ({"b.weight": (5,)}, r"it, but b.weight has the shape \(5,\), expected \(2, 5\)"),
        ({"gain": (1, 1)}, r"it, but gain has the shape \(1, 1\), expected \(\)"),
        ({"a.weight": (5, 0)}, r"it, but a.weight holds nothing"),
        ({"a.bias": None}, r"it, but a.bias is missing from it"),
        ({"a.weight": (5, 9)}, r"it, but a.weight has the shape \(5, 9\), where at most 8 are read"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        fit(network(**changes), TABLE, "it", {"z": 8})


def test_one_dtype_is_expected():
    mixed = network() | {"a.bias": torch.zeros(5, dtype=torch.float64)}
    with pytest.raises(ValueError, match=r"it, but a.bias is of torch.float64, and others of torch.float32"):
        same_dtype(mixed, TABLE, "it")
    same_dtype(network(), TABLE, "it")


def test_numbers_in_names():
    assert numbered(["a.1.x", "a.12.y", "a.12.z", "b.3.x", "a.x.4", f"a.{'9' * 5000}.x"], "a.") == {1, 12}


def test_a_label_takes_memory_for_its_classes_alone():
    assert label_vector(3, 10**7)[2:5].tolist() == [0, 1, 0]


# --- what honest files hold beside the weights ---


def test_content_beside_the_weights_is_passed_over(tmp_path):
    weights = FORMATS["rosinality"].weights
    beside = [torch.zeros(3).to_sparse(), torch.Size([1]), {1, 2}, b"bytes", 1j, Counter("aab"), torch.float16, 2**80]
    beside += [torch.device("cpu"), bytearray(b"x"), torch.zeros(2, device="meta"), torch.nn.Parameter(torch.zeros(2))]
    content = {"g_ema": torch.nn.ParameterDict().state_dict() | weights, "beside": beside, 7: ("a", None, True)}
    torch.save(content, tmp_path / "zip")
    torch.save(content, tmp_path / "older", _use_new_zipfile_serialization=False)
    torch.save(weights, tmp_path / "bare")
    first, *others = (read_checkpoint(tmp_path / name).weights for name in ("bare", "zip", "older"))
    for other in others:
        assert other.keys() == first.keys()
        assert all(torch.equal(other[key], first[key]) for key in first)


def test_an_archive_packed_again_or_of_the_other_byte_order_is_the_same(tmp_path):
    weights = {key: value.clone() for key, value in FORMATS["BigGAN"].weights.items()}
    torch.save(weights, tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as source:
        contents = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    with zipfile.ZipFile(tmp_path / "big", "w") as target:
        for name, content in contents.items():
            swapped = b"".join(content[i : i + 4][::-1] for i in range(0, len(content), 4))
            target.writestr(name, swapped if "/data/" in name else b"big" if "byteorder" in name else content)
    for name in ("plain", "packed", "big"):
        read = read_checkpoint(tmp_path / name).weights
        assert all(torch.equal(read[key], weights[key]) for key in weights), name


def test_tensors_that_are_parts_of_one_storage_are_read(tmp_path):
    weights = FORMATS["DCGAN"].weights
    flat = torch.cat([value.flatten().float() for value in weights.values()])
    parts = dict(zip(weights, flat.split([value.numel() for value in weights.values()]), strict=True))
    shared = {k: parts[k].view(v.shape) if v.is_floating_point() else v for k, v in weights.items()}
    for zipped in (True, False):
        torch.save(shared, tmp_path / "g", _use_new_zipfile_serialization=zipped)
        read = read_checkpoint(tmp_path / "g").weights
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[key], weights[key]) for key in weights)


def test_a_storage_that_is_part_of_another_is_read():
    """As the first versions of torch wrote them."""
    import io

    from ilo.generators.checkpoints.torch_file import read_legacy
    from ilo.generators.checkpoints.unpickle import Budget

    numbers = draw("part", (10,))
    part = b"(" + assemble.text("p") + assemble.number(4) + assemble.number(3) + b"t"
    view = assemble.view(assemble.storage_id(10, "0", "FloatStorage", part), [3], [1])
    tail = struct.pack("<q", 10) + numbers.numpy().tobytes()
    content = crafted.legacy(assemble.state_dict(("a", view)), b"]" + assemble.text("0") + b"a", tail)
    read = read_legacy(io.BytesIO(content), len(content), Budget())["a"]
    assert torch.equal(read.tensor(), numbers[4:7])


def test_one_float64_tensor_among_others_becomes_float32(tmp_path):
    weights = FORMATS["safetensors"].weights
    torch.save(weights | {"mapping.w_avg": weights["mapping.w_avg"].double()}, tmp_path / "g")
    read = read_checkpoint(tmp_path / "g").weights
    assert {value.dtype for value in read.values()} == {torch.float32}
    torch.save({key: value.double() for key, value in weights.items()}, tmp_path / "g")
    assert {value.dtype for value in read_checkpoint(tmp_path / "g").weights.values()} == {torch.float64}


# --- the runner ---


def test_the_runner_counts_and_fails_if_anything_was_wrong(monkeypatch, capsys):
    outcomes = [REFUSED, REFUSED, WORKED]
    monkeypatch.setattr(files, "trials", lambda rng: (Trial("row", str(rng.random()), o) for o in outcomes))
    monkeypatch.setattr(__main__, "__package__", "abuse")
    assert __main__.main(["files"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["row", "3", "2", "1", "0"]
    outcomes.insert(0, "RuntimeError")
    assert __main__.main(["files", "--seed", "3"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"WRONG row: {random.Random(3).random()}: RuntimeError")
    assert said[-1].split() == ["row", "4", "2", "1", "1"]
    with pytest.raises(SystemExit):
        __main__.main(["nothing"])


def test_the_runner_runs_from_the_checkouts_top():
    command = [sys.executable, "-m", "tests.abuse", "--help"]
    top = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "files" in done.stdout
