"""Run the tests: ``python runtests.py [arguments for pytest]``.

The browser tests run where a Chromium is found (see tests/browsers.py); ``PUSHERABLE_REQUIRE_BROWSER=1`` fails
where none is. Nothing of ``tests`` is imported here: pytest could not rewrite its asserts any more.
"""

import os
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent)
    sys.exit(pytest.main(sys.argv[1:]))
