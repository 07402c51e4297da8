"""How a report's page does: its size, how soon it is seen, how fast it decodes, and how near to Python's decoder.

    python -m benchmarks.page results/mnist

Needs Chromium (apt install chromium) and the sweep's checkpoints; costs half a minute. Exit code 1 if a pixel
differs by more than 1/255.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser import Opened, browser, lacking

PLACES = 60  # of the pointer on the map, for each model
TOLERANCE = 1  # steps of 1/255, of which half of one is the rounding of what is on the screen
FORGET = "() => { window.times = {decode: [], frame: []}; }"
OBSERVE = """() => {
    const keep = entry => window.times[entry.name].push(entry.duration);
    new PerformanceObserver(list => list.getEntries().forEach(keep)).observe({type: "measure"});
}"""
PIXELS = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0)"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="folder of a sweep with its report.html")
    options = parser.parse_args()
    if why := lacking():
        sys.exit(f"error: {why}")
    page = options.sweep / "report.html"
    if not page.is_file():
        sys.exit(f"error: {page} is not there; python -m experiments.report {options.sweep} writes it")
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
    with browser() as chromium:
        paints = [first_paint(chromium, page) for _ in range(5)]
        print(f"first paint after {np.median(paints):.0f} ms ({min(paints):.0f} to {max(paints):.0f}, 5 loads)")
        with Opened(chromium, page, reduced_motion="reduce") as opened:
            opened.page.evaluate(FORGET)
            opened.page.evaluate(OBSERVE)
            print(f"{'model':12} {'decode, ms':>20} {'whole frame, ms':>20} {'largest difference':>20}")
            differences = []
            for name in opened.page.eval_on_selector_all("#model option", "all => all.map(option => option.value)"):
                line, difference = explored(opened.page, options.sweep, name)
                differences.append(difference)
                print(line)
    return 1 if max(differences, default=0) > TOLERANCE else 0


def first_paint(chromium: Any, page: Path) -> float:
    with Opened(chromium, page) as opened:
        opened.page.wait_for_timeout(300)
        script = "performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)"
        return opened.page.evaluate(script)[0]


def explored(page: Any, sweep: Path, name: str) -> tuple[str, float]:
    """Moves the pointer over a model's map; a line of times, and the largest difference of a pixel from `run.decode`,
    in steps of 1/255."""
    import jaxvae

    page.select_option("#model", name)
    page.locator("#map").scroll_into_view_if_needed()
    page.wait_for_timeout(2500)  # the decoded map
    page.evaluate(FORGET)
    box = page.locator("#map").bounding_box()
    codes, pictures = [], []
    for x, y in np.random.default_rng(0).uniform(0.01, 0.99, (PLACES, 2)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(40)
        codes.append(json.loads(page.get_attribute("#decoded", "data-code")))
        pictures.append(page.eval_on_selector("#decoded", PIXELS))
    expected = 255 * np.asarray(jaxvae.load(sweep / name).decode(np.array(codes)))
    difference = np.abs(np.reshape(pictures, expected.shape) - expected).max()
    decode, frame = (page.evaluate(f"window.times.{kind}") for kind in ("decode", "frame"))
    shown = [f"{np.median(times):.2f}, at most {max(times):.2f}" for times in (decode, frame)]
    return f"{name:12} {shown[0]:>20} {shown[1]:>20} {difference:>16.2f}/255", float(difference)


if __name__ == "__main__":
    sys.exit(main())
