"""Pictures and pages: nothing overlaps, nothing is lost, nothing is loaded from elsewhere."""

import itertools
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

import nnad
from nnad.autodiff.explain.numbers import width
from nnad.autodiff.explain.svg import LABEL_LETTER, LETTER
from tests.autodiff.explain.functions import EXAMPLES, fan_out, micrograd, sigmoid

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</script><img src=x onerror=alert(1)> & "quoted" `ticks`'


def explained(name):
    f, args = EXAMPLES[name]
    return nnad.explain(f, *args)


def groups(root, css):
    return [g for g in root.iter(f"{SVG}g") if css in g.get("class", "").split()]


def frame(group):
    """left, top, right, bottom of a group's rectangle."""
    rect = group.find(f"{SVG}rect")
    x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
    return x, y, x + w, y + h


def on_path(text):
    """Points of a path made of M, C and V."""
    points, at = [], np.zeros(2)
    for command, numbers in re.findall(r"([MCV])([^MCV]*)", text):
        values = [float(v) for v in re.findall(r"-?[\d.]+", numbers)]
        if command == "C":
            a, b, c = np.reshape(values, (3, 2))
            for t in np.linspace(0, 1, 21):
                s = 1 - t
                points.append(s**3 * at + 3 * s * s * t * a + 3 * s * t * t * b + t**3 * c)
            at = c
        elif command == "V":
            points += [np.array([at[0], y]) for y in np.linspace(at[1], values[0], 21)]
            at = points[-1]
        else:
            at = np.array(values)
    return points


def overlaps(frames):
    """Pairs of frames that have more than a hair in common."""
    return [
        (a, b)
        for a, b in itertools.combinations(frames, 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > 0.2 and min(a[3], b[3]) - max(a[1], b[1]) > 0.2
    ]


def crossed(root):
    """Places where an arrow runs through a box or label that is not its own."""
    boxes = {g.get("data-step"): frame(g) for g in groups(root, "step")}
    found = []
    for link in groups(root, "link"):
        ends = (link.get("data-from"), link.get("data-to"))
        others = [f for key, f in boxes.items() if key not in ends]
        others += [frame(g) for g in groups(root, "label") if g not in list(link)]
        for x, y in on_path(link.find(f".//{SVG}path").get("d")):
            found += [f for f in others if f[0] + 1 < x < f[2] - 1 and f[1] + 1 < y < f[3] - 1]
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_picture_holds_every_step_and_nothing_overlaps(name):
    trace = explained(name)
    root = ET.fromstring(trace.to_svg())
    boxes, labels = groups(root, "step"), groups(root, "label")
    assert len(boxes) == len(trace.steps)
    assert len(labels) == sum(len(step.partials) for step in trace.steps)
    assert overlaps([frame(g) for g in boxes + labels]) == []
    assert crossed(root) == []
    across, down = (float(v) for v in root.get("viewBox").split()[2:])
    assert all(min(x, y) >= 0 and r <= across and b <= down for x, y, r, b in map(frame, boxes))
    for group, letter in [(g, LETTER) for g in boxes] + [(g, LABEL_LETTER) for g in labels]:
        left, _, right, _ = frame(group)
        for text in group.iter(f"{SVG}text"):
            assert width(text.text) * letter <= right - left + 0.2  # coordinates have one decimal


def test_the_checks_of_pictures_see_a_fault():
    root = ET.fromstring(nnad.explain(fan_out, 1.3).to_svg())
    boxes = groups(root, "step")
    rect, other = boxes[3].find(f"{SVG}rect"), boxes[4].find(f"{SVG}rect")
    for key in ("x", "y"):
        rect.set(key, other.get(key))
    assert overlaps([frame(g) for g in boxes])
    rect.set("x", "0")
    rect.set("width", "900")
    assert crossed(root)


@pytest.mark.parametrize("name", ["sigmoid", "several", "network"])
def test_the_graph_is_the_same_in_every_language(name):
    trace = explained(name)
    edges = sum(
        len(step.partials) + len({id(x.constant) for x in step.operands if x.constant})
        for step in trace.steps
    )
    dot, mermaid = trace.to_dot(), trace.to_mermaid()
    assert dot.count(" -> ") == edges
    assert len(re.findall(r"--?>|-\.->", mermaid)) == edges
    assert len(re.findall(r"^  n\d+ \[label=", dot, re.M)) == len(trace.steps)
    assert dot.count("{") == dot.count("}") == 1


def test_graphviz_reads_the_dot(tmp_path):
    program = shutil.which("dot")
    if program is None:
        pytest.skip("needs Graphviz")
    text = nnad.explain(sigmoid, 0.5, title=HOSTILE).to_dot()
    subprocess.run([program, "-Tsvg"], input=text, text=True, check=True, capture_output=True)


class Page(HTMLParser):
    """Tags and attributes of a page; every tag must be closed in order."""

    VOID = {"meta", "input", "br", "rect", "path", "polygon"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.faults = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_page_stands_alone_and_tells_every_event(name):
    trace = explained(name)
    page = Page(trace.to_html())
    assert (page.faults, page.open) == ([], [])
    assert {"src", "href", "srcset"}.isdisjoint(key for key, _ in page.attributes)
    events = len(trace.steps) + len(list(trace.backward()))
    assert sum(key == "data-phase" for key, _ in page.attributes) == events
    assert "url(" not in trace.to_html()
    assert "@import" not in trace.to_html()


def test_texts_cannot_break_out_of_a_page():
    trace = nnad.explain(sigmoid, 0.5, title=HOSTILE)
    plain = nnad.explain(sigmoid, 0.5)
    for made, usual in [
        (trace.to_html(), plain.to_html()),
        (trace._repr_html_(), plain._repr_html_()),
    ]:
        assert Page(made).tags == Page(usual).tags
    ET.fromstring(trace.to_svg())


# In a browser ---------------------------------------------------------------------------------

# What runs out of its box, as the browser's own fonts have it; and the state of the stepping.
PROBE = """<script>
const out = [];
for (const g of document.querySelectorAll(".nnad-graph .step, .nnad-graph .label")) {
  const box = g.querySelector("rect").getBBox();
  for (const text of g.querySelectorAll("text")) {
    const t = text.getBBox();
    if (t.x < box.x - 1 || t.x + t.width > box.x + box.width + 1) out.push(text.textContent);
  }
}
if (document.documentElement.scrollWidth > innerWidth) out.push("page too wide");
document.body.dataset.out = JSON.stringify(out);
document.body.dataset.now = document.querySelector(".events .now strong").textContent;
document.body.dataset.hidden = [...document.querySelectorAll(".nnad-graph .step .adjoint")]
  .filter((t) => getComputedStyle(t).visibility === "hidden").length;
</script>"""


ARROW_KEY = (
    "const arrow = new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true});"
    "document.body.dispatchEvent(arrow);"
)


def browse(text, folder, at=0, across=1200, act=""):
    """The attributes that PROBE leaves on the page's body, after the script `act`."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Chromium")
    path = folder / "page.html"
    path.write_text(
        text.replace("</body>", f"<script>{act}</script>{PROBE}</body>"), encoding="utf-8"
    )
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--disable-quic"]
    options = [f"--user-data-dir={folder / 'profile'}", f"--window-size={across},900", "--dump-dom"]
    command = [program, *quiet, *options, f"{path.as_uri()}#{at}"]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    body = re.search(r"<body[^>]*>", done.stdout)[0]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body))


@pytest.mark.slow
@pytest.mark.parametrize("across", [1200, 500])
@pytest.mark.parametrize("name", ["micrograd", "network", "several"])
def test_in_a_browser_no_text_runs_out_of_its_box(name, across, tmp_path):
    assert browse(explained(name).to_html(), tmp_path, across=across)["out"] == "[]"


@pytest.mark.slow
def test_in_a_browser_the_page_steps_forwards_then_backwards(tmp_path):
    page = nnad.explain(sigmoid, 0.5).to_html()
    seen = [browse(page, tmp_path, at) for at in (0, 4, 5, 9)]
    assert [s["hidden"] for s in seen] == ["5", "5", "4", "0"]
    assert [s["now"].split(" ")[0] for s in seen] == ["x", "v4", "v̄4", "x̄"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "now"),
    [
        ("document.querySelector('[data-move=on]').click();" * 3, "v3"),
        ("document.querySelector('[data-move=last]').click();", "x̄"),
        ("document.querySelector('[data-move=first]').click();", "x"),
        (ARROW_KEY, "v1"),
        (
            "document.querySelector('.step[data-step=\"2\"]').dispatchEvent(new Event('click'));",
            "v2",
        ),
        ("slider.value = 5; slider.dispatchEvent(new Event('input'));", "v̄4"),
    ],
    ids=["button", "last", "first", "key", "box", "slider"],
)
def test_in_a_browser_the_page_answers(act, now, tmp_path):
    page = nnad.explain(sigmoid, 0.5).to_html()
    assert browse(page, tmp_path, act=act)["now"].split(" ")[0] == now


@pytest.mark.slow
def test_in_a_browser_a_text_that_runs_out_is_seen(tmp_path):
    page = nnad.explain(micrograd, -4.0, 2.0).to_html()
    wide = page.replace("font: 13px ui-monospace", "font: 26px ui-monospace")
    assert browse(wide, tmp_path)["out"] != "[]"
