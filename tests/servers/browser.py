"""A headless Chromium that tests look through, and where its pictures go."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from .helpers import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver.remote.webelement import WebElement

_Found = TypeVar("_Found")

#: What tests leave behind to be looked at. Not kept by git.
ARTEFACTS = Path(__file__).resolve().parents[2] / "test-artefacts"

_PATIENCE = 120.0


class Browser:
    """One window."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def evaluate(self, expression: str, *arguments: object) -> Any:
        """Return the value of a JavaScript expression."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def texts(self, selector: str) -> list[str]:
        """Return what the elements hold that a CSS selector finds, all at one moment."""
        found: list[str] = self.evaluate(
            "[...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector
        )
        return found

    def rows(self, selector: str) -> list[list[str]]:
        """Return what the children hold of each element that is found, all at one moment."""
        found: list[list[str]] = self.evaluate(
            "[...document.querySelectorAll(arguments[0])]"
            ".map((one) => [...one.children].map((child) => child.textContent))",
            selector,
        )
        return found

    def until(self, look: Callable[[], _Found]) -> _Found:
        """Return what ``look`` returns once that is true; fail when it never is."""
        until = time.monotonic() + _PATIENCE
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < until, f"still {found!r}"
            time.sleep(0.1)

    def press(self, selector: str, text: str) -> None:
        """Click the first button with this label or text, once it is there."""
        pressed = self.until(
            lambda: self.evaluate(
                "(() => { const found = [...document.querySelectorAll(arguments[0])].find((one) => "
                "(one.getAttribute('aria-label') || one.textContent) === arguments[1]); "
                "if (found) found.click(); return Boolean(found); })()",
                selector,
                text,
            )
        )
        assert pressed

    def complaints(self) -> list[str]:
        """Return what the page has said on its console, but for answers of an error's status."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if "Failed to load resource" not in entry["message"]
        ]

    def picture(self, name: str) -> None:
        """Keep how the page looks now, all of its height."""
        ARTEFACTS.mkdir(exist_ok=True)
        height = self.evaluate("document.documentElement.scrollHeight")
        self.driver.set_window_size(1280, min(max(height + 200, 600), 6000))
        assert self.driver.save_screenshot(str(ARTEFACTS / f"{name}.png"))

    def prefer(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@contextmanager
def browser(*, offline: bool = False) -> Iterator[Browser]:
    """Run a Chromium of its own.

    :param offline: without any network: not even this machine's.
    """
    options = ChromeOptions()
    options.binary_location = find_program("chromium", "chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--window-size=1200,900",
    ):
        options.add_argument(argument)
    if offline:
        options.add_argument("--proxy-server=127.0.0.1:9")
        options.add_argument("--proxy-bypass-list=<-loopback>")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(find_program("chromedriver", "chromium-driver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
