"""Make the pictures of docs/explore.md: python scripts/explorer_screenshots.py FOLDER.

FOLDER gets a run of the embedded digits and its audit, unless they are there: some minutes on one
core. The map is that of a kept sweep. Needs `pip install '.[dev]'` and Chromium.
"""

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import recondoor as rd
from recondoor.explore import Access, Site, open_folder

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MOST_BYTES = 250_000
SETTINGS = {
    "data.name": "mnist5k",
    "operator.name": "fourier",
    "trigger.amplitude": 4.0,
    "train.max_epochs": 4,
    "attack.names": ["none", "heuristic"],
}
KEPT = Path(__file__).parents[1] / "studies" / "equal-budget" / "fourier"
"""A sweep that was kept without its runs."""


def make(folder: Path) -> dict[str, Path]:
    """A run and its audit below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {name: folder / name for name in ("digits", "audit-data")}
    rd.study(SETTINGS, places["digits"])
    if not (places["audit-data"] / "audit.json").exists():
        names = ("range-test", "measurement-residual", "spectral-signatures")
        rd.audit_data(places["digits"], detectors=names).save(places["audit-data"])
    return places


def bench(page: Page) -> None:
    """Move the square by five pixels."""
    page.locator(".box").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector(".bench[aria-busy=false]")


def choose(page: Page) -> None:
    """Step to the second pair."""
    page.locator(".ranked [aria-current]").focus()
    page.keyboard.press("ArrowDown")


def main() -> None:
    """Write lab-bench.png, map.png, audit.png, and the lab bench on a telephone in the dark."""
    places = make(Path(sys.argv[1]))
    IMAGES.mkdir(exist_ok=True)
    with chromium() as browser:
        with shown(places["digits"]) as site:
            shoot(browser, site, "lab-bench", bench, height=1010)
            shoot(browser, site, "lab-bench-narrow", bench, width=400, height=1500, scheme="dark")
        with shown(KEPT) as site:
            shoot(browser, site, "map", lambda _: None, height=1000)
        with shown(places["audit-data"]) as site:
            shoot(browser, site, "audit", choose, height=860)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own browser, without a window."""
    program = which("chromium") or which("google-chrome") or "chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False)
        yield browser
        browser.close()


@contextmanager
def shown(folder: Path) -> Iterator[Site]:
    """A folder's page, answering in a thread of its own."""
    site = Site(open_folder(folder), Access())
    thread = threading.Thread(target=site.run)
    thread.start()
    yield site
    site.stop()
    thread.join()


def shoot(
    browser: Browser,
    site: Site,
    name: str,
    act: Callable[[Page], None],
    *,
    width: int = 1280,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
) -> None:
    """Open the page, do something, and write a picture of few colours."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(site.address)
    page.wait_for_selector("main[data-view]")
    act(page)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    whole = Image.open(io.BytesIO(page.screenshot()))
    page.close()
    path = IMAGES / f"{name}.png"
    whole.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        raise SystemExit(f"{path} has more than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main()
