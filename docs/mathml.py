"""Sphinx extension: formulas as MathML, which every current browser draws by itself: no script, no font to fetch."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from ilo.report import mathml

logger = logging.getLogger(__name__)


def _written(translator, node: nodes.Element, display: str) -> str:
    latex = node.astext()
    try:
        element = mathml(latex, display)
    except Exception as error:  # the library raises what it likes; a warning ends the build
        logger.warning("formula %r: %s", latex, error, location=node)
        return translator.encode(latex)
    if "\\" in element:  # a command that it does not know, it leaves as it is
        logger.warning("no MathML for a command in %r", latex, location=node)
    return element


def inline(translator, node: nodes.math) -> None:
    translator.body.append(_written(translator, node, "inline"))
    raise nodes.SkipNode


def block(translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_written(translator, node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
