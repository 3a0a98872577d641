"""Sphinx extension: formulas as MathML, which every current browser draws by itself: no script, no font to fetch."""

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def mathml(latex: str, display: str) -> str:
    r"""The formula as a <math> element; display: "inline" or "block".

    Raises:
        ValueError: a command that is not understood, which would be shown as it is written.
    """
    element = convert(latex.replace(r"\arg", r"\operatorname{arg}"), display=display)
    if "\\" in element:
        raise ValueError(f"no MathML for a command in {latex!r}")
    return element


def _written(translator, node: nodes.Element, display: str) -> str:
    try:
        return mathml(node.astext().strip(), display)
    except Exception as error:  # the library raises what it likes; a warning ends the build
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        return translator.encode(node.astext())


def inline(translator, node: nodes.math) -> None:
    translator.body.append(_written(translator, node, "inline"))
    raise nodes.SkipNode


def block(translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_written(translator, node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
