"""Plots and pages of the benchmark: what they show is what was measured, and nothing is fetched."""

from xml.etree import ElementTree

import pytest

from framework.evaluation.drag.document import (
    Heading,
    Listing,
    Paragraph,
    Plot,
    Strip,
    Table,
    markdown,
)
from framework.evaluation.drag.plots import LABEL_PX, dot_plot
from framework.evaluation.drag.web_page import web_page

SVG = "{http://www.w3.org/2000/svg}"
PAGE = [
    Heading("Drags of `<x>`", 1),
    Paragraph("*soft* & `hard`"),
    Listing(["a", "b"]),
    Table(["", "px"], [["`a|b`", "1 < 2"]]),
    Plot("plots/a.svg", dot_plot("px", {"a": [1.0]})),
    Strip("strips/a.jpg", "`a`", b"\xff\xd8"),
    Strip("strips/b.jpg", "`b`", b"\xff\xd8"),
]


def test_a_plot_has_a_dot_for_each_value_where_it_belongs():
    rows = {"one & only": [1.0, 2.0, 4.0], "b": [0.5]}
    root = ElementTree.fromstring(dot_plot("px <", rows, marks=(2.0,)))
    dots = [float(dot.get("cx", "nan")) - LABEL_PX for dot in root.iter(f"{SVG}circle")]
    assert [dot / dots[0] for dot in dots] == pytest.approx([1, 2, 4, 0.5], rel=0.01)
    marks = [line for line in root.iter(f"{SVG}line") if line.get("class") == "mark"]
    assert float(marks[0].get("x1", "nan")) - LABEL_PX == pytest.approx(dots[1], abs=0.1)
    means = [line for line in root.iter(f"{SVG}line") if line.get("class") == "mean"]
    middle = float(means[0].get("x1", "nan")) - LABEL_PX
    assert middle == pytest.approx(sum(dots[:3]) / 3, abs=0.1)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"px <", "one & only", "b", "0", "2", "4"} <= set(texts)


@pytest.mark.parametrize("values", [[0.0], [-3.0, 5.0], [1e-5, 2e-5], [4000.0]])
def test_a_plot_of_any_range_stays_on_its_paper(values):
    root = ElementTree.fromstring(dot_plot("x", {"a": values}))
    width = float(root.get("width", "nan"))
    for dot in root.iter(f"{SVG}circle"):
        assert LABEL_PX <= float(dot.get("cx", "nan")) <= width


def test_a_web_page_needs_nothing_else_and_shows_text_as_text():
    page = web_page("Drags of <x>", PAGE)
    assert "<script" not in page and "src=" in page
    links = page.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in links and 'src="data:image/jpeg;base64,/9g="' in links
    assert "<h1>Drags of <code>&lt;x&gt;</code></h1>" in page and "<x>" not in page
    assert "<p><em>soft</em> &amp; <code>hard</code></p>" in page
    assert "<td>1 &lt; 2</td>" in page
    assert page.count('<div class="strips">') == 1 and page.count("<figure>") == 2
    assert page.count("</div>") == page.count("<div")


def test_the_same_page_as_markdown():
    text = markdown(PAGE)
    assert text.startswith("# Drags of `<x>`\n\n*soft* & `hard`\n\n- a\n- b\n\n|  | px |\n")
    assert "| `a\\|b` | 1 < 2 |" in text
    assert "![](plots/a.svg)\n\n`a`\n\n![](strips/a.jpg)" in text
