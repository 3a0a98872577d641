"""What a pickle holds, read by a machine that knows the opcodes of checkpoints and nothing else.

`pickletools.genops` splits a pickle into opcodes; the table below acts on them. A name is looked up among stand-ins
that the caller gives, never imported. Nothing recurses, and nothing that nests is hashed, compared or printed: a pickle
can nest a million tuples, and the interpreter's own functions for these end with the C stack. What is made is counted,
so that a small file cannot ask for much work.
"""

import pickletools
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

MOST_STEPS = 300_000  # opcodes, and items that a call takes; a training snapshot of StyleGAN2-1024 has some 50,000
LONGEST_LINE = 1024  # bytes of a name
KEYS = (str, bytes, int, float, type(None))  # bool is an int


class Budget:
    """How much work a file may still ask for, nested pickles included."""

    def __init__(self, steps: int = MOST_STEPS):
        self.steps = self.left = steps

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise UnpicklingError(f"it takes more than {self.steps:,} steps to read, which no checkpoint does")


class Inert:
    """Stands for what is of no use here, such as a set or an optimiser's settings: takes anything, keeps nothing."""

    __slots__ = ()

    def __init__(self, *_: Any):
        pass


class Stateful:
    """Stands for an object whose state a pickle sets after it has made it."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        raise NotImplementedError


def unpickle(
    file: BinaryIO,
    size: int,
    names: Mapping[tuple[str, str], Any],
    budget: Budget,
    load: Callable[[Any], Any] | None = None,
) -> Any:
    """Read one pickle from `file`, whose end is `size` bytes from its beginning; leave the file behind the pickle.

    Args:
        names: (module, name) → what stands for it: a value, or a function or class that the pickle may call.
        load: what makes an object of a persistent id.

    Raises:
        UnpicklingError: a name or an opcode outside the tables, or too many steps.
        Exception: of any other kind, as a damaged file brings it about.
    """
    machine = _Machine(names, budget, load)
    for opcode, argument, _ in pickletools.genops(_Bounded(file, size)):
        budget.spend(1)
        action = _ACTIONS.get(opcode.name)
        if action is None:
            raise UnpicklingError(f"it holds the opcode {opcode.name}, which no checkpoint needs")
        action(machine, argument)
    return machine.stack.pop()


class _Bounded:
    """A file that reads no more than it has: a pickle's claim of 8 GB takes no memory. It cannot tell its position, so
    genops does not ask for it at every opcode."""

    def __init__(self, file: BinaryIO, size: int):
        self._read, self._readline, self._left = file.read, file.readline, size - file.tell()

    def read(self, count: int) -> bytes:
        data = self._read(count if count < self._left else self._left)
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        data = self._readline(min(LONGEST_LINE, self._left))
        self._left -= len(data)
        return data


class _Machine:
    def __init__(self, names: Mapping[tuple[str, str], Any], budget: Budget, load: Callable[[Any], Any] | None):
        self.names, self.budget, self.load = names, budget, load
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise UnpicklingError(f"it fills a {type(self.stack[-1]).__name__} as if it were a {kind.__name__}")
        return self.stack[-1]

    def taken(self, count: int) -> list[Any]:
        """The topmost `count`, no longer on the stack."""
        if count > len(self.stack):
            raise UnpicklingError("it takes more from the stack than lies there")
        cut = len(self.stack) - count
        items = self.stack[cut:]
        del self.stack[cut:]
        return items

    def marked(self) -> list[Any]:
        return self.taken(len(self.stack) - self.marks.pop())

    def find(self, module: str, name: str) -> None:
        found = self.names.get((module, name))
        if found is None and module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            found = vars(torch)[name]
        if found is None:
            raise UnpicklingError(f"it asks for {module}.{name}, which could run code")
        self.push(found)

    def find_on_stack(self) -> None:
        module, name = self.taken(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise UnpicklingError("it asks for a name that is no text")
        self.find(module, name)

    def call(self) -> None:
        function, arguments = self.taken(2)
        if not isinstance(arguments, tuple):
            raise UnpicklingError("it calls with arguments that are no tuple")
        self.budget.spend(len(arguments))
        self.budget.spend(sum(len(item) for item in arguments if isinstance(item, (dict, list, tuple))))
        self.push(function(*arguments))

    def build(self) -> None:
        target, state = self.taken(2)
        if isinstance(target, Stateful):
            target.build(state)
        self.push(target)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, KEYS):
                raise UnpicklingError(f"it holds a dict with a key of type {type(key).__name__}")
            target[key] = value

    def load_persistent(self) -> None:
        if self.load is None:
            raise UnpicklingError("it asks for a persistent object outside torch's formats")
        self.push(self.load(self.stack.pop()))


def _nothing(*_: Any) -> None:
    pass


_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"), _Machine.push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _Machine.push),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_SET": lambda m, _: m.stack.append(Inert()),
    "FROZENSET": lambda m, _: m.push(Inert(m.marked())),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "TUPLE1": lambda m, _: m.stack.append((m.stack.pop(),)),
    "TUPLE2": lambda m, _: m.push(tuple(m.taken(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.taken(3))),
    "POP": lambda m, _: m.taken(1),
    "POP_MARK": lambda m, _: m.marked(),
    "APPEND": lambda m, _: [value := m.stack.pop(), m.top(list).append(value)],
    "APPENDS": lambda m, _: [values := m.marked(), m.top(list).extend(values)],
    "ADDITEMS": lambda m, _: [m.marked(), m.top(Inert)],
    "SETITEM": lambda m, _: m.set_items(m.taken(2)),
    "SETITEMS": lambda m, _: m.set_items(m.marked()),
    "MEMOIZE": lambda m, _: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, place: m.memo.__setitem__(place, m.stack[-1])),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, place: m.push(m.memo[place])),
    "GLOBAL": lambda m, words: m.find(*words.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.find_on_stack(),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.call()),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.load_persistent(),
}
