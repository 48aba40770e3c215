"""Pages in a real browser: all figures are drawn, nothing is loaded, nothing is complained of."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from html import unescape
from pathlib import Path

import pytest

from nnad.cli import main

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium (apt-get install chromium)"),
]
SIZES = {"narrow": (500, 900), "wide": (1280, 900)}
OWN_QUESTIONS = ("/favicon.ico", "/time/")  # of the browser: its icon, and what time it is
PROBE = """
<script>
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("figure")].map((f) => {
    const box = f.querySelector("svg").getBoundingClientRect();
    return [f.dataset.figure, box.width > 150 && box.height > 80];
  });
  const root = document.documentElement;
  const ground = getComputedStyle(document.body).backgroundColor;
  document.body.dataset.seen = JSON.stringify(
    { seen, overflow: root.scrollWidth - innerWidth, ground });
});
</script>
"""


class Server:
    """Serves one page on this machine, and remembers what it was asked for."""

    def __init__(self, text: str) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def port(self) -> int:
        return self.server.server_address[1]


def look(text: str, size: tuple[int, int], profile: Path, *options: str) -> tuple[dict, list, list]:
    """(what the probe saw, what was asked for beside the page, lines of the console)."""
    with Server(text + PROBE) as server:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
                 f"--host-resolver-rules=MAP * 127.0.0.1:{server.port}",
                 "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]  # fmt: skip
        page = f"http://127.0.0.1:{server.port}/page.html"
        done = subprocess.run(
            [str(BROWSER), *flags, *options, page],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen, done.stderr
    asked = [path for path in server.asked if not path.startswith(("/page.html", *OWN_QUESTIONS))]
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(seen[1])), asked, complaints


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["binary", "classes", "numbers", "quantiles", "labels"])
def test_a_report_in_a_browser(runs, name, size, tmp_path) -> None:
    text = (runs / name / "report.html").read_text()
    seen, asked, complaints = look(text, SIZES[size], tmp_path)
    figures = re.findall(r'data-figure="([^"]*)"', text)
    assert seen["seen"] == [[figure, True] for figure in figures]
    assert seen["overflow"] <= 0
    assert (asked, complaints) == ([], [])


@pytest.mark.parametrize("size", SIZES)
def test_pages_of_several_runs_in_a_browser(runs, size, tmp_path) -> None:
    names = [str(runs / name) for name in ("binary", "classes", "labels")]
    assert main(["compare", *names, "--output", str(tmp_path / "compare.html")]) == 0
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(f"base: {runs.parent}/classes.yaml\ntrials: 3\ndir: {tmp_path}/sweeps\n"
                     "parameters: {optimizer.lr: {log_uniform: [1e-3, 1]}}\n")  # fmt: skip
    assert main(["sweep", "--config", str(sweep)]) == 0
    for file in (tmp_path / "compare.html", tmp_path / "sweeps" / "sweep" / "sweep.html"):
        text = file.read_text()
        seen, asked, complaints = look(text, SIZES[size], tmp_path / "profile")
        assert seen["seen"] and all(drawn for _, drawn in seen["seen"])
        assert seen["overflow"] <= 0
        assert (asked, complaints) == ([], [])


def test_a_dark_browser_shows_a_dark_page(runs, tmp_path) -> None:
    text = (runs / "binary" / "report.html").read_text()
    light, _, _ = look(text, SIZES["wide"], tmp_path)
    dark, _, _ = look(text, SIZES["wide"], tmp_path, "--blink-settings=preferredColorScheme=0")
    assert (light["ground"], dark["ground"]) == ("rgb(255, 255, 255)", "rgb(18, 22, 29)")


def test_a_page_that_loads_something_is_caught(runs, tmp_path) -> None:
    text = (runs / "binary" / "report.html").read_text()
    image = '<img src="http://elsewhere.example/x.png">'
    assert look(text.replace("</header>", image + "</header>"), SIZES["wide"], tmp_path)[2]
    free = re.sub(r"<meta http-equiv=[^>]*>", "", text)
    asked = look(free.replace("</header>", image + "</header>"), SIZES["wide"], tmp_path)[1]
    assert asked == ["/x.png"]
