"""The repository keeps its own promises: pins that agree, notebooks that say something, small files."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from ilo import provenance
from ilo.profiles import declared_parameters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch"}


def pins(requirements):
    return dict(re.match(r"([\w.-]+)==?([\w.]+)$", line).groups() for line in requirements)


def pyproject_pins():
    extras = [line for group in PROJECT["optional-dependencies"].values() for line in group]
    return {name.lower(): v for name, v in pins([*PROJECT["dependencies"], *extras]).items()}


def test_environment_and_pyproject_pin_the_same_versions():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    lines = [e for e in listed if isinstance(e, str) and not e.startswith(("python", "pip"))]
    found = pins([*lines, *(line for line in by_pip if not line.startswith("-"))])
    assert {CONDA_NAMES.get(n, n).lower(): v for n, v in found.items()} == pyproject_pins()
    assert f"python{PROJECT['requires-python']}" in listed


def test_constraints_pin_what_pyproject_pins():
    lines = [line.split(";")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    found = {}
    for line in filter(None, lines):
        name, version = line.split("==")
        found.setdefault(name.lower(), set()).add(version)
    for name, version in pyproject_pins().items():
        assert found[name] == {version}, name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_executed_in_order_and_says_something_that_is_compared(path):
    """nbval skips cells without an execution count and never compares images: neither may hide an empty check."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    outputs = [o for c in code for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    compared = [c for c in code if "nbval-ignore-output" not in c.metadata.get("tags", [])]
    texts = [o for c in compared for o in c.outputs if o.output_type == "stream" or "text/plain" in o.get("data", {})]
    assert len(texts) >= 3, "too little of this notebook is compared"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_has_the_parts_that_every_notebook_has(path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "question" in first.source.lower()
    code = [c for c in notebook.cells if c.cell_type == "code"]
    tagged = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        # the form that papermill reads reliably: one typed literal a line, with its help
        assert re.match(r"\w+: (int|float|str|bool|list\[\w+\]|Optional\[\w+\]) = [^=#]+  # \S", line), line
    closing = code[-2].source
    assert len(re.findall(r"^\s*assert ", closing, re.MULTILINE)) >= 2, "the closing cell asserts what was told"
    assert "provenance(" in code[-1].source


TUTORIALS = [path for path in NOTEBOOKS if path.parent.name == "tutorials"]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_is_one_click_away_and_installs_only_what_is_missing(path, monkeypatch):
    from tests import one_click

    notebook = nbformat.read(path, as_version=4)
    assert one_click.with_one_click(copy.deepcopy(notebook), path.stem) == notebook, "python tests/one_click.py"
    cell = notebook.cells[1]
    assert cell.outputs == []
    monkeypatch.setattr(subprocess, "run", lambda *args, **_: pytest.fail(f"it ran {args}, and ilo is there"))
    exec(cell.source, {})
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(cell.source, {})
    extras, address = re.match(r"ilo\[([\w,]+)\] @ git\+(\S+)$", asked[0][-1]).groups()
    assert address == PROJECT["urls"]["Repository"]
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_readme_opens_the_quickstart():
    from tests import one_click

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("Open in [Colab]") == 1
    assert one_click.readme_with_links(text) == text, "python tests/one_click.py"


def test_binder_sees_that_its_environment_needs_the_checkout():
    """repo2docker installs from environment.yml alone, unless a line of pip's begins with -e: it knows no long form."""
    by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert "-e ." in by_pip


def test_profiles_name_every_experiment_and_only_declared_parameters():
    pytest.importorskip("papermill")
    from ilo import profiles

    table = yaml.safe_load((ROOT / "notebooks" / profiles.PROFILES).read_text())
    assert set(table) == {"quick", "full"}
    quick, full = (profiles.plan(profile) for profile in ("quick", "full"))
    for jobs in (quick, full):
        assert {job.path for job in jobs} == {path for path in NOTEBOOKS if path.parent.name != "tutorials"}
    assert [job.name for job in quick] == [job.name for job in full]


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


def test_no_tracked_file_is_large():
    assert [str(p) for p in tracked_files() if p.stat().st_size > 5e6] == []


def test_readme_shows_only_figures_that_exist_and_commands_that_make_knows():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_ci_runs_all_the_tests_and_the_browser():
    readme = (ROOT / "README.md").read_text()
    for command in ("make test ALL=1", "make browser"):
        assert command in readme
        assert command in (ROOT / ".ci" / "run").read_text().splitlines()


CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_citation_has_what_its_format_demands():
    """The required keys and the spellings of https://citation-file-format.github.io, version 1.2.0."""
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert CITATION["type"] == "software"
    paper = CITATION["preferred-citation"]
    assert {"type", "title", "authors"} <= set(paper)
    for author in (*CITATION["authors"], *paper["authors"]):
        assert set(author) in ({"name"}, {"family-names", "given-names"})
    assert {type(paper[key]) for key in ("volume", "start", "end", "year", "month")} == {int}


def test_citation_is_of_this_version_and_readme_cites_the_same_paper():
    assert (CITATION["version"], CITATION["license"]) == (PROJECT["version"], PROJECT["license"])
    paper = CITATION["preferred-citation"]
    entry = re.search(r"```bibtex\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    fields = dict(re.findall(r"(\w+) += \{(.*)\}", entry))
    authors = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert fields["author"].split(" and ") == authors
    assert fields["title"] == paper["title"]
    assert fields["booktitle"] == paper["collection-title"]
    assert fields["pages"] == f"{paper['start']}--{paper['end']}"
    assert (fields["volume"], fields["year"]) == (str(paper["volume"]), str(paper["year"]))
    assert any(
        paper_id["value"].removeprefix("arXiv:") in PROJECT["urls"]["Paper"] for paper_id in paper["identifiers"]
    )


def test_the_hosts_workflow_runs_what_make_runs_and_may_write_nothing():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    job = workflow["jobs"]["test"]
    assert workflow["permissions"] == {}
    assert job["permissions"] == {"contents": "read"}
    first, last = re.match(r">=3\.(\d+),<3\.(\d+)$", PROJECT["requires-python"]).groups()
    assert job["strategy"]["matrix"] == {
        "os": ["ubuntu-latest", "macos-latest", "windows-latest"],
        "python": [f"3.{first}", f"3.{int(last) - 1}"],
    }
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == [], "pinned by commit"
    installed = re.findall(r"--editable '(\.\[.*?\])'", text)
    assert installed
    assert set(installed) <= set(
        re.findall(r"--editable '(\.\[.*?\])'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    )
    assert "make test" in text
    assert "tests/robust.py own" in text


def test_the_hosts_other_workflow_publishes_the_site_and_may_write_that_alone():
    text = (ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert build["permissions"] == {"contents": "read"}
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    assert "refs/heads/main" in publish["if"]
    assert any(step.get("run") == "make site PYTHON=python" for step in build["steps"])
    used = re.findall(r"uses: (\S+)", text)
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == [], "pinned by commit"


def test_figures_come_with_their_numbers_and_provenance():
    for figure in (ROOT / "figures").glob("*.png"):
        record = json.loads(figure.with_suffix(".json").read_text())
        assert {"revision", "torch"} <= set(record), figure.name
        assert figure.with_suffix(".csv").stat().st_size > 0
        assert figure.with_suffix(".pdf").exists()


def test_the_bound_is_drawn_with_the_lipschitz_constants_that_theory_02_wrote():
    """theory/01 takes them as parameters, since certifying them takes longer than all its curves."""
    parameters = declared_parameters(ROOT / "notebooks" / "theory" / "01_bound.ipynb")
    rows = pd.read_csv(ROOT / "figures" / "theory_lipschitz.csv")
    [row] = rows[rows["generator"].str.startswith("faces") & (rows["cut"] == 1)].to_dict("records")
    assert parameters["L1"] == pytest.approx(row["L1 certified"], rel=1e-3)
    assert parameters["L2"] == pytest.approx(row["L2 certified"], rel=1e-3)
    assert parameters["L2_found"] == pytest.approx(row["L2 found"], rel=0.2), "depends on the points looked at"


UNRECORDED = ROOT / "figures" / "UNRECORDED.txt"


def revisions():
    """The revisions that every committed table of rows and every figure's record names."""
    for path in sorted((ROOT / "figures").glob("*.json")):
        yield f"figures/{path.name}", {json.loads(path.read_text(encoding="utf-8"))["revision"]}
    for path in sorted((ROOT / "data" / "reference").glob("*.csv")):
        yield f"data/reference/{path.name}", set(pd.read_csv(path)["revision"].fillna("none"))


def test_rows_and_figures_are_of_clean_commits_of_the_history():
    """But for those that figures/UNRECORDED.txt still lists, with the reason; the list must shrink."""
    if provenance.git("rev-parse", "--is-shallow-repository", folder=ROOT) == "true":
        pytest.skip("a shallow clone has no history to look in: git fetch --unshallow")
    found = dict(revisions())
    clean = {name for name in set().union(*found.values()) if provenance.is_recorded(name, ROOT)}
    lacking = {name for name, named in found.items() if not named <= clean}
    lines = UNRECORDED.read_text(encoding="utf-8").splitlines()
    listed = dict(re.match(r"(\S+)  +(\S.*)$", line).groups() for line in lines if line and not line.startswith("#"))
    assert lacking - set(listed) == set(), "recorded from a dirty or unknown revision: see CONTRIBUTING.md"
    assert set(listed) - lacking == set(), "these have been recorded since: take them from the list"
