"""Search the Hugging Face Hub for styles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from metastyle_hub.artifacts.model_card import PREVIEW_FILE, STYLE_TAG, base_tag
from metastyle_hub.errors import HubError
from metastyle_hub.hub.errors import REPO_ID, hub_client, hub_errors

__all__ = ["SORTS", "HubStyle", "list_styles"]

SORTS = ("likes", "downloads", "last_modified", "created_at", "trending_score")


@dataclass(frozen=True)
class HubStyle:
    """A style as `list_styles` returns it."""

    repo_id: str
    author: str
    name: str
    likes: int
    downloads: int
    preview: str | None  # URL of an image, if the author shared one
    base: str | None  # the repo of its base; None if that ships with the package or is not shared
    commit: str | None  # for MetaStyle.from_pretrained(repo_id, revision=commit)


def list_styles(
    search: str | None = None,
    *,
    author: str | None = None,
    base: str | None = None,
    sort: str = "likes",
    limit: int | None = None,
    token: str | bool | None = None,
) -> Iterator[HubStyle]:
    """List the styles on the Hub, best first, page by page as the iterator advances.

    Args:
        search: part of the repo's name.
        author: user or organization.
        base: only styles of this base: its repo id, or the fingerprint of its parameters.
        sort: one of `SORTS`.
        limit: at most so many.
        token: as in huggingface_hub.

    Raises:
        HubError: at once for wrong arguments, while iterating if the Hub fails.

    >>> [style.repo_id for style in list_styles("wave", limit=10)]
    ['me/wave']
    """
    if sort not in SORTS:
        raise HubError(f"sort must be one of {', '.join(SORTS)}, got {sort!r}.")
    if limit is not None and limit < 1:
        raise HubError(f"limit must be at least 1, got {limit}.")
    tags = [STYLE_TAG]
    if base is not None:
        tags.append(f"base_model:{base}" if REPO_ID.fullmatch(base) else base_tag(base))
    return _list(token, filter=tags, search=search, author=author, sort=sort, limit=limit)


def _list(token: str | bool | None, **query: Any) -> Iterator[HubStyle]:
    api, expand = hub_client(token), ["author", "cardData", "downloads", "likes", "sha", "siblings"]
    with hub_errors("listing styles", "the list"):
        for model in api.list_models(expand=expand, **query):  # type: ignore[arg-type]
            card: dict[str, Any] = model.card_data.to_dict() if model.card_data else {}
            author, _, name = model.id.rpartition("/")
            preview = f"{api.endpoint}/{model.id}/resolve/{model.sha}/{PREVIEW_FILE}"
            bases = card.get("base_model")
            yield HubStyle(
                repo_id=model.id,
                author=model.author or author,
                name=str(card.get("model_name") or name),
                likes=model.likes or 0,
                downloads=model.downloads or 0,
                preview=preview if any(file.rfilename == PREVIEW_FILE for file in model.siblings or ()) else None,
                base=bases[0] if isinstance(bases, list) and bases else bases or None,
                commit=model.sha,
            )
