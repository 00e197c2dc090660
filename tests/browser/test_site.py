"""The folder of the page, and its server."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny

from metastyle_hub import MetaStyle
from metastyle_hub.artifacts.serialization import Artifact
from metastyle_hub.cli.site import site_server
from metastyle_hub.errors import ExportError
from metastyle_hub.export.site import CHECKOUT_PAGE, build_site


def test_without_sources_or_npm_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match=str(tmp_path)):
        build_site(page=tmp_path)
    page = tmp_path / "browser"
    shutil.copytree(CHECKOUT_PAGE, page, ignore=shutil.ignore_patterns("node_modules", "site"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ExportError, match="npm"):
        build_site(page=page)


def test_graphs_stay_until_a_style_changes(tmp_path: Path, base: MetaStyle) -> None:
    exported: list[set[str]] = []

    def export(base: Artifact, styles: Mapping[str, Artifact], folder: Path) -> None:
        exported.append(set(styles))
        folder.mkdir()

    def build() -> None:
        try:
            build_site(tmp_path / "site", base=base.origin.folder, styles=tmp_path / "styles", export=export)
        except ExportError as error:
            pytest.skip(str(error))

    tiny.random_style(base, tmp_path / "styles" / "wave", "norm", 0)
    build()
    build()
    assert exported == [{"wave"}]
    tiny.random_style(base, tmp_path / "styles" / "wave", "norm", 1)
    build()
    assert exported == [{"wave"}, {"wave"}]


def test_the_server_isolates_the_page_and_names_types(tmp_path: Path) -> None:
    types = {"index.html": "text/html", "a.js": "text/javascript", "a.mjs": "text/javascript"}
    types |= {"a.wasm": "application/wasm", "a.webmanifest": "application/manifest+json"}
    for name in types:
        (tmp_path / name).write_text("x")
    with site_server(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, kind in types.items():
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
            connection.request("GET", f"/{name}")
            answer = connection.getresponse()
            assert answer.status == 200 and answer.headers.get_content_type() == kind
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            connection.close()
        server.shutdown()
