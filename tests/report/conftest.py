import shutil

import pytest

from tests.report.browser import Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    programs = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome"))
    found = next((program for program in programs if program), None)
    if found is None:
        pytest.skip("no Chromium on the PATH: the page was not opened in a browser")
    with Browser(found, tmp_path_factory.mktemp("browser")) as browser:
        yield browser
