"""The page's sources: types that TypeScript accepts, and few lines."""

from __future__ import annotations

import subprocess

import pytest

from metastyle_hub.export.site import CHECKOUT_PAGE

TYPESCRIPT = CHECKOUT_PAGE / "node_modules" / ".bin" / "tsc"


@pytest.mark.skipif(not TYPESCRIPT.is_file(), reason="TypeScript is not installed: npm ci in space/browser")
def test_types_are_consistent():
    done = subprocess.run([str(TYPESCRIPT), "--project", str(CHECKOUT_PAGE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_stays_small():
    files = [*(CHECKOUT_PAGE / "src").glob("*.js"), CHECKOUT_PAGE / "service-worker.js"]
    assert 0 < sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= 2000
