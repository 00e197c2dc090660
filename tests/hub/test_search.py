"""The list of styles on the Hub."""

from __future__ import annotations

import pytest
import tiny
from hub_fixtures import assert_sentence, files_of, make_style, published

from metastyle_hub import MetaStyle
from metastyle_hub.cli import main
from metastyle_hub.errors import HubError
from metastyle_hub.hub.search import list_styles


def test_listing_filters_sorts_and_reads_page_by_page(hub, base):
    shared, _ = published(hub, base)
    other = MetaStyle.from_parameters(tiny.parameters(5), tiny.NETWORK)
    for i in range(7):
        on = shared if i % 2 else other
        wave = make_style(on, i, name=f"Wave {i}")
        hub.add(f"me/wave{i}", files_of(wave), likes=i)
    hub.page_size = 3
    hub.requests.clear()
    found = list_styles("wave")
    assert hub.requests == []
    first = next(found)
    assert (first.repo_id, first.author, first.name, first.likes) == ("me/wave6", "me", "Wave 6", 6)
    assert first.preview is None and first.base is None and first.commit == hub.repos["me/wave6"].refs["main"]
    assert hub.count("GET /api/models") == 1
    assert [s.likes for s in found] == [5, 4, 3, 2, 1, 0]
    assert hub.count("GET /api/models") == 3
    assert len(list(list_styles())) == 8
    assert {s.repo_id for s in list_styles("wave", base="me/base")} == {"me/wave1", "me/wave3", "me/wave5"}
    assert {s.repo_id for s in list_styles(base=other.fingerprint)} == {f"me/wave{i}" for i in (0, 2, 4, 6)}
    assert len(list(list_styles(limit=4))) == 4 and list(list_styles(author="nobody")) == []
    with pytest.raises(HubError):
        list_styles(sort="beauty")
    with pytest.raises(HubError) as error:
        list_styles(limit=0)
    assert "0" in str(error.value) and "1" in str(error.value)
    hub.fail("GET /api/models", status=500)
    with pytest.raises(HubError):
        list(list_styles())


@pytest.mark.parametrize(
    ("trouble", "values"),
    [
        ({"status": 401}, []),
        ({"status": 403}, []),
        ({"status": 404}, []),
        ({"status": 429, "headers": {"Retry-After": "7"}}, ["7"]),
        ({"status": 500}, ["500"]),
        ({"cut": 0}, []),
        ({"cut": 20}, []),
    ],
)
def test_every_failure_of_listing_is_one_sentence(hub, base, trouble, values, capsys):
    published(hub, base)
    hub.fail("GET /api/models", **trouble)
    with pytest.raises(HubError) as error:
        list(list_styles())
    assert all(value in str(error.value) for value in values)
    assert_sentence(error.value)
    assert main(["list"]) == 2
    assert f"metastyle: {error.value}\n" in capsys.readouterr().err
    hub.troubles.clear()
    assert [style.repo_id for style in list_styles()] == ["me/starry"]
