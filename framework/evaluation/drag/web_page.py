"""The report as one HTML file that needs nothing else: plots and pictures are in it."""

import base64
import html
import re
from collections.abc import Sequence

from framework.evaluation.drag.document import (
    Block,
    Heading,
    Listing,
    Paragraph,
    Plot,
    Strip,
    Table,
)

# ruff: noqa: E501
_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
:root{{color-scheme:light dark;--line:#8884;--soft:#8881}}
body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem}}
h2{{margin-top:2.5rem}}h3{{margin-top:2rem;border-top:1px solid var(--line);padding-top:1rem}}
.wide{{overflow-x:auto;margin:.7rem 0}}table{{border-collapse:collapse;font-size:13px;white-space:nowrap}}
th,td{{padding:.25rem .6rem;text-align:left;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}}
th{{font-weight:600;background:var(--soft)}}td:first-child,th:first-child{{position:sticky;left:0;background:Canvas}}
code{{font:13px ui-monospace,monospace;background:var(--soft);padding:0 .25em;border-radius:3px}}
h1 code,h2 code{{font-size:inherit}}ul{{font-size:13px;columns:2;column-gap:2rem}}li{{break-inside:avoid}}svg{{max-width:100%;height:auto}}
.strips{{display:flex;flex-wrap:wrap;gap:1rem}}figure{{margin:0}}figcaption{{font-size:13px}}img{{max-width:100%}}
</style></head><body>
{body}
</body></html>
"""


def web_page(title: str, page: Sequence[Block]) -> str:
    """The page as HTML, without a script and without a link to anywhere."""
    parts: list[str] = []
    for block in page:
        part = _html(block)
        if isinstance(block, Strip) and parts and parts[-1].endswith("</figure></div>"):
            parts[-1] = parts[-1].removesuffix("</div>") + part.removeprefix('<div class="strips">')
        else:
            parts.append(part)
    return _PAGE.format(title=html.escape(title), body="\n".join(parts))


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_inline(text)}</p>"
        case Listing(texts):
            return "<ul>" + "".join(f"<li>{_inline(text)}</li>" for text in texts) + "</ul>"
        case Table(heads, rows):
            head = "".join(f"<th>{_inline(cell)}</th>" for cell in heads)
            lines = ("".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows)
            body = "".join(f"<tr>{line}</tr>" for line in lines)
            return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
        case Plot(_, svg):
            return svg
        case Strip(_, caption, data):
            source = base64.b64encode(data).decode()
            picture = f'<img alt="" src="data:image/jpeg;base64,{source}">'
            figure = f"<figure>{picture}<figcaption>{_inline(caption)}</figcaption></figure>"
            return f'<div class="strips">{figure}</div>'


def _inline(text: str) -> str:
    """Markdown's `code` and *emphasis* as HTML; everything else is text."""
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", text)
