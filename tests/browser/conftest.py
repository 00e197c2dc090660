"""A tiny base, exported and built as the browser page, and a Chromium to open it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch

from metastyle_hub import AdaptationConfig, MetaStyle
from metastyle_hub.cli.site import site_server
from metastyle_hub.errors import ExportError
from metastyle_hub.export import site
from metastyle_hub.networks.feature_extractor import SPECS
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES, StylePredictor
from metastyle_hub.networks.transformer_net import NetworkConfig

CHROMIUM = Path("/usr/bin/chromium")
NETWORK = NetworkConfig(width=16, residual_blocks=1)
RECIPE = AdaptationConfig(steps=4, crop_size=64, batch_size=2, precision="float32")


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> MetaStyle:
    """A base with a predictor whose predictions differ from style to style."""
    theta = tiny.parameters(config=NETWORK)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor = StylePredictor(SPECS["compact"].gram_channels, MAX_STYLE_SCALES, theta)
        torch.nn.init.normal_(predictor.out.weight, std=0.02)
    made = MetaStyle.from_parameters(theta, NETWORK, predictor=predictor.state_dict(), name="tiny base")
    return MetaStyle.from_pretrained(made.save_pretrained(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="package")
def styles(base: MetaStyle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, MetaStyle]:
    """The styles that the page offers; their names are those of example images, which give the thumbnails."""
    folder = tmp_path_factory.mktemp("space") / "styles"
    names = {"mosaic_sun": "decoder", "night_swirls": "norm", "stained_glass": "decoder", "woodblock_waves": "all"}
    return {name: tiny.random_style(base, folder / name, kind, i) for i, (name, kind) in enumerate(names.items())}


@pytest.fixture(scope="package")
def address(base, styles, request) -> Iterator[str]:
    """The address of the page, served from this machine.

    An export takes half a minute, so it is kept; `build_site` repeats it when its sources change, and a change of this
    module gives another folder.
    """
    browser = pytest.importorskip("metastyle_hub.export.browser", reason="onnx is missing: pip install '.[export]'")
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]  # decides the recipe
    folder = request.config.cache.mkdir(f"browser-{own}")
    offered = styles["mosaic_sun"].origin.folder.parent

    def export(*arguments):
        browser.export_browser(*arguments, recipes={"small": RECIPE}, steps=())

    try:
        target = site.build_site(folder, base=base.origin.folder, styles=offered, export=export)
    except ExportError as error:
        pytest.skip(str(error))
    with site_server(target) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser
        browser.close()
