"""What the array unpickler reads, and that it runs nothing it is told to."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ilo import array_pickle, assets
from ilo.array_pickle import load_arrays


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


NUMBERS = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="<"),
    hnp.integer_dtypes(endianness=">"),
    hnp.floating_dtypes(endianness="<"),
    hnp.floating_dtypes(endianness=">"),
    hnp.complex_number_dtypes(),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pickles") / "arrays.pkl"


@given(
    array=NUMBERS.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=5))),
    protocol=st.integers(3, 4),  # 2 has no bytes, 5 writes arrays in another way
    fortran=st.booleans(),
)
def test_arrays_come_back_as_they_were(file, array, protocol, fortran):
    array = np.asfortranarray(array) if fortran and array.ndim else array
    tree = {"layer": {"kernel": array}, "list": [array, ("text", 1, 2.5, None, True)]}
    back = load_arrays(written(file, pickle.dumps(tree, protocol)))
    assert back["list"][1] == tree["list"][1]
    for found in (back["layer"]["kernel"], back["list"][0]):
        assert type(found) is np.ndarray
        assert found.dtype == array.dtype.newbyteorder("=")
        assert found.shape == array.shape
        np.testing.assert_array_equal(found, array)
        assert found.flags.writeable  # torch warns of sharing memory that is not


@pytest.mark.parametrize("name", ["lpips-alex", "lpips-vgg", "squeezenet-imagenet"])
def test_the_published_pickles_read_as_numpy_reads_them(name):
    """They are what their hashes say, so plain unpickling is no risk here."""
    path = assets.fetch(name)

    def compare(ours, numpys):
        assert type(ours) is type(numpys)
        if isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, numpys)
        else:
            pairs = numpys.items() if isinstance(numpys, dict) else enumerate(numpys)
            assert len(ours) == len(numpys)
            for key, value in pairs:
                compare(ours[key], value)

    with open(path, "rb") as file:
        # numpy 2 warns of the old module name in the file: name the new one
        class Renamed(pickle.Unpickler):
            def find_class(self, module, name):
                return super().find_class(module.replace("numpy.core", "numpy._core"), name)

        compare(load_arrays(path), Renamed(file).load())


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


MARKER = Path("ran")  # in the test's own folder
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"  # an array without a state yet
HOSTILE = {
    "system": pickle.dumps(Call(os.system, "touch ran")),
    "eval": pickle.dumps(Call(eval, "__import__('os').mkdir('ran')")),
    "in a dict": pickle.dumps({"kernel": [Call(exec, "import os; os.mkdir('ran')")]}),
    "as a key": pickle.dumps({Call(os.mkdir, "ran"): 1}),
    "import by an operator": b"cbuiltins\n__import__\n(Vos\ntR.",
    "old instance opcode": b"(S'touch ran'\nios\nsystem\n.",
    "protocol 4": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
    "through a numpy module": b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93\x8c\x09touch ran\x85R.",
    "numpy's own loader": b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x03ran\x85R.",
    "numpy's memory map": b"\x80\x04\x8c\x05numpy\x8c\x06memmap\x93\x8c\x03ran\x85R.",
    "a file": b"cio\nopen\n(Vran\nVw\ntR.",
    "persistent id": b"\x80\x04\x8c\x03ran\x51.",
    "extension code": b"\x80\x02\x82\x01.",
    "object array": pickle.dumps(np.array([Call(os.mkdir, "ran")], dtype=object), 3),
    "plain object array": pickle.dumps(np.array(["text"], dtype=object), 3),
    "structured array": pickle.dumps(np.zeros(2, dtype=[("a", "f4")]), 3),
    "text array": pickle.dumps(np.array(["text"]), 3),
    "array without data": ARRAY + b".",
    "array of strings for bytes": ARRAY + b"(K\x01(K\x01tcnumpy\ndtype\n(Vf4\nI00\nI01\ntRI00\nVabcd\ntb.",
    "array too short for its shape": ARRAY + b"(K\x01(K\x09tcnumpy\ndtype\n(Vf4\nI00\nI01\ntRI00\nC\x04abcdtb.",
    "array whose dtype is a function": ARRAY + b"(K\x01(K\x01tcnumpy\nndarray\nI00\nC\x04abcdtb.",
    "state put on a class": b"cnumpy\ndtype\n}Vdtype\nK\x01sb.",
    "a set": pickle.dumps({1, 2}),
    "nothing": b"",
    "cut": pickle.dumps(np.zeros(9), 3)[:-20],
    "no pickle": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused_and_not_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match=r"hostile\.pkl was refused, nothing in it was run: ."):
        load_arrays(written(tmp_path / "hostile.pkl", HOSTILE[name]))
    assert not MARKER.exists()


@pytest.mark.parametrize("name", ["system", "eval", "in a dict", "as a key", "old instance opcode", "protocol 4"])
def test_the_hostile_pickles_would_have_run(name, tmp_path, monkeypatch):
    """Else the test above would show nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE[name])
    assert MARKER.exists()


def test_a_crafted_dtype_reads_no_memory(tmp_path):
    """numpy reads an object array's bytes as addresses when its dtype's flags are set to allow it."""
    crafted = (
        ARRAY
        + b"(K\x01(K\x01tcnumpy\ndtype\n(VO8\nI00\nI01\ntR"
        + b"(K\x03V|\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"I00\nC\x08\x41\x41\x41\x41\x41\x41\x41\x41tb."
    )
    with pytest.raises(pickle.UnpicklingError, match="dtype 'O8' are refused"):
        load_arrays(written(tmp_path / "crafted.pkl", crafted))


def test_a_file_cannot_leave_anything_behind_in_the_module(tmp_path):
    before = {name: dict(vars(getattr(array_pickle, name))) for name in ("_Array", "_DType")}
    for i, data in enumerate(HOSTILE.values()):
        with pytest.raises(pickle.UnpicklingError):
            load_arrays(written(tmp_path / f"{i}.pkl", data))
    assert {name: dict(vars(getattr(array_pickle, name))) for name in before} == before
