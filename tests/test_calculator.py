"""The theorem's page computes what `ilo.theory` does: its own JavaScript, under node."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ilo import theory

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "_static" / "theorem.js"
NODE = shutil.which("node")
if NODE is None:
    pytest.skip("no node here, so theorem.js was not run (make browser runs it in a browser)", allow_module_level=True)

RUN = """
const theorem = require(process.argv[1]);
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const number = (v) => (v === null ? NaN : v);
const values = given.map((g) => Object.fromEntries(Object.entries(g).map(([name, v]) => [name, number(v)])));
console.log(JSON.stringify(values.map((v) => ({
  wrong: theorem.problems(v),
  r2: theorem.extendedRadius(v),
  m: theorem.sampleComplexity(v),
  bound: theorem.errorBound(v),
}))));
"""
GOOD = {"k": 100, "p": 8192, "L1": 29.9, "L2": 17417.0, "r1": 11.65, "delta": 1.1, "gamma": 0.5, "K": 8.0}
GOOD |= {"epsilon": 0.5, "constant": 1.0}


def javascript(settings: list[dict]) -> list[dict]:
    done = subprocess.run(
        [NODE, "-e", RUN, str(SCRIPT)], input=json.dumps(settings), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def python(v: dict) -> dict[str, float]:
    setting = theory.Setting(k=v["k"], p=v["p"], L1=v["L1"], L2=v["L2"], r1=v["r1"])
    return {
        "r2": theory.extended_radius(v["K"], v["delta"], v["L2"]),
        "m": theory.sample_complexity(setting, v["K"], v["delta"], v["gamma"], v["constant"]),
        "bound": theory.error_bound(v["epsilon"], v["p"], v["K"], v["delta"], v["gamma"]),
    }


def drawn(rng: np.random.Generator) -> dict:
    v = {name: float(10 ** rng.uniform(-3, 5)) for name in ("L1", "L2", "r1", "constant")}
    v |= {"k": int(rng.integers(1, 2000)), "p": int(10 ** rng.uniform(0, 6)), "gamma": float(rng.uniform(1e-3, 0.999))}
    v["delta"] = v["L1"] * v["L2"] * v["r1"] * float(10 ** -rng.uniform(0, 9))
    v["K"] = float(math.sqrt(v["p"]) ** rng.uniform(0, 1))
    return v | {"epsilon": float(rng.choice([0.0, 10 ** rng.uniform(-3, 3)]))}


def test_it_agrees_with_the_package():
    rng = np.random.default_rng(0)
    edges = [GOOD, GOOD | {"K": 1.0}, GOOD | {"K": math.sqrt(8192)}, GOOD | {"p": 1, "K": 1.0}]
    edges += [GOOD | {"K": float(np.float32(math.sqrt(8192)))}, GOOD | {"delta": 29.9 * 17417.0 * 11.65}]
    settings = edges + [drawn(rng) for _ in range(2000)]
    for v, found in zip(settings, javascript(settings), strict=True):
        assert found["wrong"] == {}, v
        for name, expected in python(v).items():
            assert found[name] == pytest.approx(expected, rel=1e-12, abs=0), (name, v)


WRONG = [
    ("k", 0.5),
    ("p", 0),
    ("L1", 0),
    ("L2", -1),
    ("r1", 0),
    ("delta", 0),
    ("delta", 1e9),
    ("gamma", 0),
    ("gamma", 1),
]
WRONG += [("K", 0.9), ("K", 91), ("epsilon", -1), ("constant", 0)]


def test_it_refuses_what_the_package_refuses_and_says_which():
    settings = [GOOD | {name: value} for name, value in WRONG]
    for (name, _), v, found in zip(WRONG, settings, javascript(settings), strict=True):
        assert name in found["wrong"]
        with pytest.raises(ValueError, match=r"must be"):
            python(v)
    [found] = javascript([dict.fromkeys(GOOD)])
    assert set(found["wrong"]) == set(GOOD), "empty fields"
