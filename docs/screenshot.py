"""Makes ``docs/images/newsroom.png``: ``python -m docs.screenshot``, from the root of the repository.

Nothing in it is drawn: two browsers are in the running demo, and each is photographed at its moment.
"""

import base64
import html
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browsers import explain_absence, find_chromium
from tests.example.running import RunningNewsroom

IMAGE = Path(__file__).parent / "images" / "newsroom.png"
WINDOW = {"width": 760, "height": 860}

FRAME = """\
<!doctype html>
<html lang="en">
<style>
  body { margin: 0; padding: 26px; width: max-content; display: flex; gap: 26px; background: #5d6b7a; }
  figure { margin: 0; border-radius: 9px; overflow: hidden; background: #e6e2d9; }
  figcaption { padding: 9px 16px; font: 600 17px/1.3 system-ui, sans-serif; color: #2c2a26; }
  img { display: block; }
</style>
<body>{figures}</body>
</html>
"""


def main() -> None:
    """Play the scene and write the image."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit(explain_absence())
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningNewsroom(Path(folder) / "db.sqlite3") as newsroom,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        ada = come_in(browser, newsroom.url, "Ada")
        grace = come_in(browser, newsroom.url, "Grace")
        captions = play(ada, grace)
        IMAGE.parent.mkdir(exist_ok=True)
        IMAGE.write_bytes(frame(browser, captions))
        browser.close()
    print(f"{IMAGE}: {IMAGE.stat().st_size / 1000:.0f} kB")


def come_in(browser: Browser, url: str, name: str) -> Page:
    # Without motion the marker on changed words stays for its time, and is the same in every picture.
    context = browser.new_context(
        base_url=url,
        viewport=WINDOW,
        color_scheme="light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    page = context.new_page()
    page.goto("/login/")
    page.get_by_role("button", name=f"Come in as {name}").click()
    page.get_by_text(f"You are {name}").wait_for()
    return page


def play(ada: Page, grace: Page) -> dict[str, bytes]:
    """Grace edits what Ada reads; returns what each of them sees, by its caption."""
    ada.goto("/posts/1/")
    ada.locator("pusherable-subscribe[event=deleted][subscribed]").wait_for(state="attached")
    grace.goto("/posts/1/")
    happenings = ada.locator("[data-part=happenings] li")
    happenings.nth(0).wait_for()
    grace.get_by_role("link", name="Edit").click()
    happenings.nth(1).wait_for()
    grace.get_by_label("Title").fill("Night ferry to run again, and all through the summer")
    grace.get_by_label("Ink").check()
    grace.evaluate("scrollTo(0, 0)")
    grace.get_by_text("2 people here").wait_for()
    written = grace.screenshot()
    grace.get_by_role("button", name="Save").click()
    happenings.nth(2).wait_for()
    # Saved, she is led back to the post.
    happenings.first.get_by_text("Grace is reading this too.").wait_for()
    ada.get_by_text("2 people here").wait_for()
    return {"Grace edits a post …": written, "… and Ada, who has it open, sees it happen": ada.screenshot()}


def frame(browser: Browser, captions: dict[str, bytes]) -> bytes:
    """The pictures side by side, each with its caption above it."""
    figures = "".join(
        f"<figure><figcaption>{html.escape(caption)}</figcaption>"
        f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}"></figure>'
        for caption, picture in captions.items()
    )
    page = browser.new_page(viewport={"width": 2 * WINDOW["width"] + 78, "height": 400})
    page.set_content(FRAME.replace("{figures}", figures))
    return page.screenshot(full_page=True)


if __name__ == "__main__":
    main()
