"""The command line: what it writes, its exit codes, and a sentence instead of a traceback."""

import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from first_writer import pulse, random_net
from nvidia_writer import nvidia_pickle
from PIL import Image
from safetensors.torch import load_file

import ilo
from ilo.cli.main import COMMANDS, main
from ilo.cli.recover import FIXED
from ilo.generators import random_stylegan2
from ilo.images import astronaut_face, write_image
from ilo.operators.tasks import TASKS

FEW = ["--budget", "16", "--samples", "2", "--quiet"]  # of rounds="auto"


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, default_generator):
    """The default generator is loaded once, so that what auto finds of its images is found once too."""
    load, G = ilo.generators.load, default_generator
    monkeypatch.setattr(ilo.generators, "load", lambda f, **options: G if f == G.name else load(f, **options))


@pytest.fixture
def quick(monkeypatch):
    """The real generator and solver, with few steps: these tests are of the command, not of the quality."""
    rounds = [ilo.Round(0, 4, 0.1), ilo.Round(1, 4, 0.05, radius=500.0)]
    monkeypatch.setitem(FIXED, "whitened", lambda G: rounds)
    monkeypatch.setitem(FIXED, "paper", lambda G: rounds)
    monkeypatch.setitem(FIXED, "csgm", lambda G: rounds[:1])


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "face.png"
    write_image(path, astronaut_face(64))
    return path


@pytest.mark.parametrize(
    "task",
    [
        ["--task", "inpaint", "--keep", "0.3"], ["--task", "superres", "--factor", "2"],
        ["--task", "superres", "--factor", "4", "--kernel", "box"], ["--task", "denoise", "--noise", "0.3"],
        ["--task", "compress", "--fraction", "0.02"], ["--task", "circulant", "--fraction", "0.02"],
        ["--task", "colourise"], ["--task", "deblur", "--blur", "1.5"],
    ],
    ids=lambda t: " ".join(t[1:]),
)  # fmt: skip
def test_every_task_writes_its_results(quick, photo, tmp_path, capsys, task):
    out = tmp_path / "out"
    rounds = ["--rounds", "whitened", "--restarts", "1"]
    assert main(["recover", str(photo), *task, *rounds, "--out", str(out), "--quiet"]) == 0
    assert {p.name for p in out.iterdir()} == {"recovered.png", "comparison.png", "result.safetensors", "report.json"}
    report = json.loads((out / "report.json").read_text())
    assert report["task"] == task[1]
    assert report["psnr"] > 5
    recovered = ilo.images.read_image(out / "recovered.png")
    assert recovered.shape == (1, 3, 64, 64)
    result = ilo.load_result(out / "result.safetensors")
    assert (result.images - recovered).abs().max() <= 1 / 127.5, "the file shows the image that the result holds"
    assert "PSNR" in capsys.readouterr().out


def test_auto_is_the_default_and_shows_its_spread(photo, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["recover", str(photo), "--task", "superres", *FEW, "--out", str(out)]) == 0
    names = {
        "recovered.png",
        "comparison.png",
        "sharp.png",
        "spread.png",
        "tries.csv",
        "result.safetensors",
        "report.json",
    }
    assert {p.name for p in out.iterdir()} == names
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    report = json.loads((out / "report.json").read_text())
    assert report["evaluations"] <= 16
    assert report["noise"] == [0.02], "the noise that the program adds is known to it"
    tries = pd.read_csv(out / "tries.csv")
    assert tries["chosen"].sum() == 1
    result = ilo.load_result(out / "result.safetensors")
    low, high = result.interval()
    assert ((low <= result.images) & (result.images <= high)).all()


def test_the_noise_of_given_measurements_is_estimated_or_told(photo, tmp_path):
    few = ["--task", "denoise", "--measured", *FEW]
    for told, noise in (([], None), (["--noise-known", "0.1"], 0.1)):
        out = tmp_path / f"out{noise}"
        assert main(["recover", str(photo), *few, *told, "--out", str(out)]) == 0
        found = json.loads((out / "report.json").read_text())["noise"][0]
        assert found == 0.1 if noise else 0 < found < 0.1, "the astronaut has next to no noise"


def test_an_output_that_is_a_file_is_refused_before_the_work(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ilo, "recover", lambda *a, **k: pytest.fail("the work had begun"))
    for out in (photo, photo / "below"):
        assert main(["recover", str(photo), "--out", str(out), "--quiet"]) == 2
        assert capsys.readouterr().err.startswith("ilo: ")


@pytest.mark.parametrize("name", FIXED)
def test_every_schedule_has_its_name(photo, tmp_path, name, monkeypatch):
    steps = []
    recover = ilo.recover

    def short(*arguments, rounds, **options):
        steps.append([round_.steps for round_ in rounds])
        return recover(*arguments, rounds=[replace(round_, steps=2) for round_ in rounds], **options)

    monkeypatch.setattr(ilo, "recover", short)
    monkeypatch.setattr(ilo.baselines.generative, "recover", short)
    out = tmp_path / "o"
    flags = ["--rounds", name, "--restarts", "1", "--keep", "0.3", "--quiet"]
    assert main(["recover", str(photo), *flags, "--out", str(out)]) == 0
    of = {"paper": [300, 150, 100], "whitened": [150, 100], "release": [50, 50, 25, 25], "csgm": [300]}
    assert steps == [of[name]]


def test_csgm_is_the_first_round_alone(quick, photo, tmp_path):
    assert main(["recover", str(photo), "--rounds", "csgm", "--out", str(tmp_path / "o"), "--quiet"]) == 0
    assert ilo.load_result(tmp_path / "o" / "result.safetensors").layer == 0


def test_restarts_are_not_of_auto_and_it_says_so(photo, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["recover", str(photo), "--task", "denoise", "--restarts", "2", *FEW, "--out", str(out)]) == 0
    assert "--restarts is not used by --rounds auto" in capsys.readouterr().err


@pytest.mark.slow
def test_a_photo_with_a_mask_has_no_truth(quick, photo, tmp_path, capsys):
    mask = np.full((64, 64), 255, np.uint8)
    mask[20:40, 10:50] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    assert main(["recover", str(photo), "--mask", str(tmp_path / "mask.png"), "--out", str(out), *FEW]) == 0
    report = json.loads((out / "report.json").read_text())
    assert "psnr" not in report
    assert "PSNR" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_lies_under_the_mask_does_not_matter(quick, photo, tmp_path):
    mask = torch.ones(1, 64, 64)
    mask[:, 20:40, 10:50] = -1
    write_image(tmp_path / "mask.png", mask)
    painted = astronaut_face(64)
    painted[..., 20:40, 10:50] = -1.0
    write_image(tmp_path / "painted.png", painted)
    for name in ("face", "painted"):
        arguments = ["recover", str(tmp_path / f"{name}.png"), "--mask", str(tmp_path / "mask.png")]
        assert main([*arguments, "--out", str(tmp_path / name), *FEW]) == 0
    one, two = (ilo.load_result(tmp_path / n / "result.safetensors").images for n in ("face", "painted"))
    assert torch.equal(one, two)


@pytest.mark.slow
def test_measurements_that_are_given(quick, photo, tmp_path):
    small = ilo.operators.Downsample((3, 64, 64), factor=4)(astronaut_face(64))
    write_image(tmp_path / "small.png", small.clamp(-1, 1))
    arguments = ["recover", str(tmp_path / "small.png"), "--task", "superres", "--measured"]
    assert main([*arguments, "--out", str(tmp_path / "o"), *FEW]) == 0
    assert main(["recover", str(photo), "--task", "colourise", "--measured", "--out", str(tmp_path / "p"), *FEW]) == 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A StyleGAN2 of 64 pixels with random weights, as NVIDIA's pickle."""
    path = tmp_path_factory.mktemp("checkpoint") / "network.pkl"
    weights = random_stylegan2(64, channel_base=512, channel_max=8, z_dim=8, w_dim=8, mapping_layers=2, num_classes=3)
    path.write_bytes(nvidia_pickle(weights, {"synthesis.b4.conv1": {"conv_clamp": 256.0}}))
    return path


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_on_a_checkpoint(quick, photo, checkpoint, tmp_path, task):
    out = tmp_path / "out"
    arguments = ["recover", str(photo), "--task", task, "--generator", str(checkpoint), "--out", str(out)]
    assert main([*arguments, "--rounds", "whitened", "--restarts", "2", "--quiet"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["generator"] == "network"
    assert {"psnr", "ssim", "lpips"} <= set(report)
    result = ilo.load_result(out / "result.safetensors")
    assert {"latents", "features"} <= set(result.state)
    with torch.no_grad():
        assert torch.equal(result.render(ilo.generators.load(checkpoint)), result.images)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["inpaint", "colourise"])
def test_auto_runs_on_a_checkpoint(photo, checkpoint, tmp_path, task):
    out = tmp_path / "out"
    arguments = ["recover", str(photo), "--task", task, "--generator", str(checkpoint), "--out", str(out)]
    assert main([*arguments, "--budget", "20", "--samples", "2", "--quiet"]) == 0
    layers = pd.read_csv(out / "tries.csv")["layer"]
    assert set(layers) == {0, 2, 3, 4, 6}, "the latent, the layers that a StyleGAN2 is searched at, and the image"
    assert json.loads((out / "report.json").read_text())["psnr"] > 5


def test_less_memory_is_a_flag(quick, photo, checkpoint, tmp_path):
    images = {}
    for name, flags in {"plain": [], "kept": ["--checkpointing"], "half": ["--half", "--checkpointing"]}.items():
        arguments = ["recover", str(photo), "--generator", str(checkpoint), "--out", str(tmp_path / name), "--quiet"]
        assert main([*arguments, "--rounds", "whitened", "--restarts", "1", *flags]) == 0
        images[name] = ilo.load_result(tmp_path / name / "result.safetensors").images
    assert torch.equal(images["plain"], images["kept"])
    assert 0 < (images["plain"] - images["half"]).abs().max() < 0.5


def test_a_large_search_is_announced_before_it_begins(quick, photo, checkpoint, tmp_path, capsys, monkeypatch):
    report = ilo.generators.memory_report
    monkeypatch.setattr(ilo.generators, "memory_report", lambda G, batch: report(G, batch, large=0, free=1))
    monkeypatch.setattr(ilo, "recover", lambda *a, **k: pytest.fail("the work began"))
    with pytest.raises(pytest.fail.Exception, match="the work began"):
        main(["recover", str(photo), "--generator", str(checkpoint), "--out", str(tmp_path / "o"), "--samples", "2"])
    printed = capsys.readouterr().out
    assert printed.startswith("memory: warning, this may not fit: this search holds about")
    assert "2 × 64×64" in printed
    assert "--half" in printed


def test_convert_says_what_it_recognised_and_writes_the_same_generator(checkpoint, tmp_path, capsys):
    target = tmp_path / "made" / "g.safetensors"
    assert main(["convert", str(checkpoint), str(target)]) == 0
    printed = capsys.readouterr().out
    G, written = ilo.generators.load(checkpoint, label=1), ilo.generators.load(target, label=1)
    numbers = sum(t.numel() for t in load_file(target).values())
    assert f"StyleGAN2, 64×64 pixels, 3 classes, {numbers:,} numbers, convolutions clamped to ±256" in printed
    sample = G.sample(2, 0)
    assert torch.equal(written(sample), G(sample))
    assert [p.name for p in target.parent.iterdir()] == ["g.safetensors"]


def test_convert_takes_a_network_of_two_files(tmp_path, capsys):
    for name, weights in zip(("synthesis.pt", "mapping.pt"), pulse(random_net()), strict=True):
        torch.save(weights, tmp_path / name)
    words = ["convert", str(tmp_path / "synthesis.pt"), str(tmp_path / "g.safetensors")]
    assert main(words) == 2
    assert "--mapping MAPPING" in capsys.readouterr().err
    assert main([*words, "--mapping", str(tmp_path / "mapping.pt")]) == 0
    assert "StyleGAN (the first), 16×16 pixels, no classes" in capsys.readouterr().out
    G = ilo.generators.load(tmp_path / "g.safetensors")
    assert G.image_shape == (3, 16, 16)
    assert main([*words, "--mapping", str(tmp_path / "absent.pt")]) == 2


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_convert_refuses_what_could_run_code(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.pkl").write_bytes(pickle.dumps({"G_ema": Hostile()}))
    torch.save({"g_ema": Hostile()}, tmp_path / "g.pt")
    (tmp_path / "g.txt").write_text("no checkpoint")
    for name, reason in {
        "g.pkl": "nothing in it was run",
        "g.pt": "nothing in it was run",
        "g.txt": "expected",
    }.items():
        assert main(["convert", name, "out.safetensors"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"ilo: {name}")
        assert reason in error
        assert error.count("\n") == 1
    assert main(["convert", "g.txt", "."]) == 2
    assert main(["convert", "missing.pkl", "out.safetensors"]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.pkl", "g.pt", "g.txt"], "nothing ran, nothing was written"


MISTAKES = {
    "no file": (["recover", "missing.png"], "missing.png"),
    "no image": (["recover", "{text}"], "image"),
    "keep": (["recover", "{photo}", "--keep", "0"], "keep"),
    "fraction": (["recover", "{photo}", "--task", "compress", "--fraction", "2"], "--fraction"),
    "factor": (["recover", "{photo}", "--task", "superres", "--factor", "0"], "factor"),
    "noise": (["recover", "{photo}", "--noise", "-1"], "noise"),
    "keep of another task": (["recover", "{photo}", "--task", "superres", "--keep", "0.2"], "--keep cannot go with"),
    "kernel of another task": (["recover", "{photo}", "--kernel", "box"], "--kernel cannot go with --task inpaint"),
    "keep with a mask": (["recover", "{photo}", "--mask", "{photo}", "--keep", "0.2"], "--keep draws pixels"),
    "noise of what is given": (
        ["recover", "{photo}", "--task", "denoise", "--measured", "--noise", "1"],
        "--noise-known",
    ),
    "mask for another task": (["recover", "{photo}", "--task", "denoise", "--mask", "{photo}"], "--mask goes with"),
    "measured pixels": (["recover", "{photo}", "--measured"], "--mask"),
    "noise known": (["recover", "{photo}", "--noise-known", "-1"], "--noise-known is a standard deviation"),
    "budget of none": (["recover", "{photo}", "--budget", "0"], "budget must be"),
    "budget too small": (["recover", "{photo}", "--budget", "5"], "12"),
    "budget of csgm": (["recover", "{photo}", "--rounds", "csgm", "--budget", "5"], "--budget cannot go with"),
    "samples of whitened": (["recover", "{photo}", "--rounds", "whitened", "--samples", "5"], "only with auto"),
    "measured size": (["recover", "{photo}", "--task", "superres", "--measured"], "16×16"),
    "generator": (["recover", "{photo}", "--generator", "stylegan9"], "stylegan9"),
    "device": (["recover", "{photo}", "--device", "cuda:99"], "device"),
    "crop outside": (["recover", "{photo}", "--crop", "0,0,900,900"], "crop"),
    "profile": (["reproduce", "--profile", "huge"], "quick"),
    "notebook": (["reproduce", "--only", "nonsense"], "nonsense"),
    "nothing to compare": (["verify", "{text}"], "no folder"),
    "nothing to publish": (["publish", "{text}"], "nothing in"),
}


def test_an_interrupt_while_the_command_is_imported_is_one_too(capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("ilo.cli.main.CommandParser.fill", interrupted)
    assert main(["recover", "photo.png"]) == 130
    assert capsys.readouterr().err == "ilo: interrupted\n"


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_2(quick, photo, tmp_path, capsys, case):
    arguments, message = MISTAKES[case]
    (tmp_path / "text.png").write_text("no image")
    arguments = [a.format(photo=photo, text=tmp_path / "text.png") for a in arguments]
    if case == "device" and torch.cuda.is_available():
        pytest.skip("the GPU's own message is not ours")
    if arguments[0] == "recover":
        arguments += ["--quiet", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("ilo: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists(), "a mistake leaves nothing behind"


@pytest.mark.parametrize("arguments", [[], ["recover"], ["recover", "x.png", "--task", "teleport"], ["--no-such"]])
def test_wrong_words_are_one_line_and_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("ilo")
    assert error.endswith("--help)\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_explains_and_fits_a_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert len(said) > 200
    assert [line for line in said.splitlines() if len(line) > 80] == []


def test_bash_completes_commands_options_choices_and_files(photo, capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    bash = shutil.which("bash")
    if bash is None or sys.platform == "win32":
        pytest.skip("no bash here to ask")

    def completed(*words: str) -> set[str]:
        line = f"COMP_WORDS=({' '.join(map(shlex.quote, ('ilo', *words)))}); COMP_CWORD={len(words)}; _shtab_ilo"
        asked = f'{script}\n{line}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run([bash, "-c", asked], capture_output=True, text=True, cwd=photo.parent, check=True)
        return set(done.stdout.split())

    assert completed("") >= set(COMMANDS)
    assert completed("rec") == {"recover"}
    assert completed("recover", "--rou") == {"--rounds"}
    assert completed("recover", "--task", "") == set(TASKS)
    assert completed("recover", "fa") == {photo.name}


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_have_a_script_that_names_every_command(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in script] == []


def test_reproduce_lists_what_it_would_run(capsys):
    assert main(["reproduce", "--list", "--only", "inpainting"]) == 0
    assert "experiments/01_visual-inpainting" in capsys.readouterr().out


def test_reproduce_hands_on_files_by_paths_that_hold_anywhere(checkpoint, capsys, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    assert main(["reproduce", "--list", "--only", "inpainting", "--generator", checkpoint.name]) == 0
    assert f'"generator": "{checkpoint}"' in capsys.readouterr().out
    assert main(["reproduce", "--list", "--only", "inpainting", "--generator", "dcgan-digiface64"]) == 0
    assert '"generator": "dcgan-digiface64"' in capsys.readouterr().out


def test_a_folder_of_python_runs_as_the_command():
    for module in ("ilo", "ilo.cli"):
        done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("ilo ")


def test_every_task_of_the_table_has_its_option(capsys):
    with pytest.raises(SystemExit):
        main(["recover", "--help"])
    said = capsys.readouterr().out
    for name, task in TASKS.items():
        assert f"--task {name}{f' --{task.option} {task.default:g}' if task.option else ''}" in said
