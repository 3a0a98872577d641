// The theorem's formulas, as ilo/theory/bounds.py has them (a test compares the two), and the calculator of the page.
"use strict";

const theorem = (() => {
  // Where a value must lie, and how that is said; `values` has the others.
  const RULES = {
    k: [(v) => v >= 1, "a dimension, at least 1"],
    p: [(v) => v >= 1, "a dimension, at least 1"],
    L1: [(v) => v > 0, "positive"],
    L2: [(v) => v > 0, "positive"],
    r1: [(v) => v > 0, "positive"],
    delta: [(v, o) => v > 0 && v <= o.L1 * o.L2 * o.r1 * (1 + 1e-12), "positive and at most L₁·L₂·r₁"],
    gamma: [(v) => v > 0 && v < 1, "strictly between 0 and 1"],
    // as in Python, a K of √p from single precision may lie a little above the √p computed here
    K: [(v, o) => v >= 1 && v <= Math.sqrt(o.p) * (1 + 4 * 2 ** -23), "between 1 and √p"],
    epsilon: [(v) => v >= 0, "0 or more"],
    constant: [(v) => v > 0, "positive"],
  };

  // name -> what is wrong with it, for each value that is; empty when all is well.
  function problems(values) {
    const found = {};
    for (const [name, [holds, expected]] of Object.entries(RULES)) {
      const value = values[name];
      if (!Number.isFinite(value) || !holds(value, values)) found[name] = `must be ${expected}`;
    }
    return found;
  }

  const extendedRadius = (v) => (v.K * v.delta) / v.L2;

  function sampleComplexity(v) {
    const latents = v.k * Math.max(Math.log((v.L1 * v.L2 * v.r1) / v.delta), 0);
    return (v.constant / (1 - v.gamma) ** 2) * (latents + v.K ** 2 * Math.log(v.p));
  }

  function errorBound(v) {
    const ratio = Math.max(Math.sqrt(v.p) / v.K, 1);
    return (1 + 4 / v.gamma) * v.epsilon + ((v.delta * Math.log(4 * v.K)) / v.gamma) * ratio * Math.log(ratio);
  }

  return { problems, extendedRadius, sampleComplexity, errorBound };
})();

if (typeof module !== "undefined") module.exports = theorem;

if (typeof document !== "undefined") {
  document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("theorem-calculator");
    if (form === null) return;
    const output = (name) => form.querySelector(`output[name=${name}]`);
    const shown = (value) => value.toLocaleString("en", { maximumSignificantDigits: 6 });

    function update() {
      const fields = [...form.querySelectorAll("input")];
      // an empty field is no number, where Number("") would be 0
      const values = Object.fromEntries(fields.map((f) => [f.name, f.value.trim() === "" ? NaN : Number(f.value)]));
      const wrong = theorem.problems(values);
      for (const field of fields) {
        const message = wrong[field.name] ?? "";
        field.setAttribute("aria-invalid", String(message !== ""));
        document.getElementById(`wrong-${field.name}`).textContent = message;
      }
      const good = Object.keys(wrong).length === 0;
      const results = {
        r2: theorem.extendedRadius,
        m: theorem.sampleComplexity,
        bound: theorem.errorBound,
      };
      for (const [name, formula] of Object.entries(results)) {
        const value = good ? formula(values) : NaN;
        output(name).textContent = good ? shown(value) : "–";
        output(name).dataset.value = String(value); // to full precision
      }
    }

    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    update();
  });
}
