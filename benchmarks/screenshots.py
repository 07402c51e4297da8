"""Pictures of a report's sections, light and dark, on a desktop and a phone, and of its print.

    python -m benchmarks.screenshots results/mnist/report.html screenshots/

Needs Chromium (apt install chromium); costs twenty seconds.
"""

import sys
from pathlib import Path

from benchmarks.browser import DESKTOP, PHONE, Opened, browser, lacking


def shoot(report: Path, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    with browser() as chromium:
        for size, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
            for theme in ("light", "dark"):
                with Opened(chromium, report, viewport=viewport, theme=theme, reduced_motion="reduce") as opened:
                    page = opened.page
                    if page.query_selector("#map"):
                        page.wait_for_timeout(1500)  # the decoded map
                        choose_two(page)
                    for name in ["header", *(s.get_attribute("id") for s in page.query_selector_all("section"))]:
                        place = page.locator(f"#{name}" if name != "header" else "header")
                        place.scroll_into_view_if_needed()
                        taken.append(folder / f"{name}-{size}-{theme}.png")
                        place.screenshot(path=taken[-1])
                    assert not opened.errors, opened.errors
        with Opened(chromium, report) as opened:
            taken.append(folder / "print.pdf")
            opened.page.pdf(path=taken[-1], format="A4", margin={"top": "12mm", "bottom": "12mm"})
    return taken


def choose_two(page) -> None:
    """Walks from one test image to another, by keys."""
    page.focus("#map")
    for keys in (["ArrowLeft"] * 8 + ["Enter"], ["Shift+ArrowRight"] * 5 + ["ArrowUp"] * 6 + ["Enter"]):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_timeout(100)


if __name__ == "__main__":
    if why := lacking():
        sys.exit(why)
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for path in shoot(Path(sys.argv[1]), Path(sys.argv[2])):
        print(path)
