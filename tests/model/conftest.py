"""One tiny base and three styles of it, which all tests of MetaStyle share: the objects are immutable."""

from __future__ import annotations

import pytest
import tiny

from metastyle_hub import MetaStyle


@pytest.fixture(scope="session")
def base() -> MetaStyle:
    return MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, name="tiny")


@pytest.fixture(scope="session")
def style(base: MetaStyle) -> MetaStyle:
    """A style that trained all parameters."""
    return base.adapt(tiny.style(), config=tiny.QUICK, progress=False)


@pytest.fixture(scope="session")
def norm_style(base: MetaStyle) -> MetaStyle:
    return base.adapt(tiny.style(seed=1), config=tiny.QUICK, trainable="norm", progress=False)


@pytest.fixture(scope="session")
def decoder_style(base: MetaStyle) -> MetaStyle:
    return base.adapt(tiny.style(seed=1), config=tiny.QUICK, trainable="decoder", progress=False)
