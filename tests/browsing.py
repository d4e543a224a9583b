"""The cases of a report in Chromium: choose, tick, read."""

CASES = "[...document.querySelectorAll('#case-list > li')]"


def status(browser):
    return browser.run("document.getElementById('shown').textContent")


def choose(browser, name, value):
    """Set a field of the form, as a reader would."""
    browser.run(
        f"(() => {{ const field = document.getElementById('filters').elements.{name}; field.value = {value!r}; "
        "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def tick(browser, transition):
    browser.run(f"document.querySelector('[name=transition][value={transition}]').click()")
