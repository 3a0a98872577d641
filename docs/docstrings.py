"""Sphinx extension: the package's docstrings, which are plain prose with `names` in it, as reStructuredText.

What a reader of the source sees is what a reader of the page is to see: an indented block keeps its lines, lines
"name: what it is" are a list, and no * or | of mathematics is markup. Sections (Args, Raises, …) are napoleon's.
"""

import pkgutil
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
NAME = re.compile(r"[A-Za-z_][\w.]*(\(\))?")
EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])[^*`\n]+(?<=[^\s*])\*(?![\w*])")
FIELD = re.compile(r"(\w[\w, ]*): \S")
SECTION = re.compile(r"(Args|Raises|Returns|Yields):$")


def restructured(text: str) -> str:
    """A docstring in reStructuredText, its sections as they were."""
    return "\n\n".join(_blocks(text))


def _blocks(text: str) -> Iterator[str]:
    """Paragraph by paragraph."""
    for number, block in enumerate(re.split(r"\n\s*\n", text.strip("\n"))):
        lines = block.split("\n")
        if lines[0].startswith("    "):  # a drawing, a formula, a table
            yield "::\n\n" + block
        elif SECTION.match(lines[0]):
            yield _inline(block)
        elif number and FIELD.match(lines[0]) and all(FIELD.match(line) or line.startswith("    ") for line in lines):
            yield _inline("\n".join("  " + li[4:] if li.startswith("    ") else _item(li) for li in lines))
        elif lines[0].endswith(":") and len(lines) > 1 and all(line.startswith("    ") for line in lines[1:]):
            yield _inline(lines[0]) + "\n\n::\n\n" + "\n".join(lines[1:])
        else:
            yield _inline(block)


def _item(line: str) -> str:
    name, what = line.split(": ", 1)
    return f"- **{name}**: {what}"


def _inline(text: str) -> str:
    """Code that is no name as a literal, and the characters of mathematics as themselves."""
    parts = CODE.split(text)
    return "".join(_code(part) if CODE.fullmatch(part) else _escaped(part) for part in parts)


def _code(span: str) -> str:
    content = " ".join(span.strip("`").split())
    return f"`{content}`" if NAME.fullmatch(content) and not span.startswith("``") else f"``{content}``"


def _escaped(text: str) -> str:
    kept = re.split(rf"({EMPHASIS.pattern}|\*\*[^*\n]+\*\*)", text)
    plain = [re.sub(r"([*|])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(kept)]
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", "".join(plain))


def process(app: "Sphinx", what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """autodoc's event: rewrite a docstring; a constant has none of its own, only its type's, which is left out."""
    if what in ("data", "attribute") and not isinstance(found, property):
        lines.clear()
    lines[:] = restructured("\n".join(lines)).split("\n")


def signature(
    app: "Sphinx", what: str, name: str, found: Any, options: Any, arguments: str | None, returns: str | None
):
    """autodoc's event: a default that is a function by its name, where a dataclass shows <function ramp at 0x…>."""
    named = re.sub(r"<(?:function|class) '?([\w.]+)[^>]*>", r"\1", arguments) if arguments else arguments
    return named, returns


def exists(app: "Sphinx", domain: Any, node: Any) -> bool | None:
    """Sphinx's event, of a name that the reference lacks: True, all is well, if it is there and only not described.

    That is a constant, a type variable, a private base.
    """
    try:
        pkgutil.resolve_name(node["reftarget"])
    except (ImportError, AttributeError, ValueError):
        return None
    return True


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon's 500
    app.connect("autodoc-process-signature", signature)
    app.connect("warn-missing-reference", exists)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
