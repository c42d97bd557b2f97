"""The browsers that open a page, as parameters of the fixture `browser`, and what tests ask every
page.
"""

import pytest

from tests.support import chromium, firefox, webkit

CHROMIUM = pytest.param(
    chromium, marks=pytest.mark.skipif(chromium.CHROMIUM is None, reason="needs Chromium")
)
FIREFOX = pytest.param(
    firefox, marks=pytest.mark.skipif(firefox.FIREFOX is None, reason="needs Firefox")
)
WEBKIT = pytest.param(
    webkit, marks=pytest.mark.skipif(webkit.DRIVER is None, reason="needs WebKitGTK and Xvfb")
)
BROWSERS = [CHROMIUM, FIREFOX, WEBKIT]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
