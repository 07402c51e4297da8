"""Debian's Chromium, driven by Playwright, on a page that lies on disk."""

import contextlib
import shutil
from pathlib import Path

AXE = Path(__file__).parent / "browser-tools" / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def lacking() -> str:
    """Why no browser can be driven here; empty if one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "needs Playwright: install .[dev]"
    return "" if shutil.which("chromium") else "needs Chromium: apt install chromium"


@contextlib.contextmanager
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # without the background's own requests, which a machine without a network refuses
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        launched = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            yield launched
        finally:
            launched.close()


class Opened:
    """A page over file://, with what went wrong on it and what it asked for."""

    def __init__(self, browser, path, *, viewport=DESKTOP, theme="light", touch=False, **options):
        self.context = browser.new_context(viewport=viewport, color_scheme=theme, has_touch=touch, **options)
        self.page = self.context.new_page()
        self.errors, self.requests = [], []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(Path(path).absolute().as_uri())

    def _heard(self, message):
        by_tests = "willReadFrequently" in message.text  # of reading pixels, which the page itself does not do
        if message.type in ("error", "warning") and not by_tests:
            self.errors.append(message.text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()
