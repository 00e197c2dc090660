"""The registry of bases in use: ten styles of one base share its parameters, wherever they were loaded from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from metastyle_hub.artifacts.serialization import Artifact
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.download import EMBEDDED, DownloadOptions, load_artifact

__all__ = ["FORMER_BASES", "BaseRegistry"]

FORMER_BASES: Mapping[str, tuple[str, str | None]] = {}
"""Bases of earlier versions of this package: fingerprint -> repo and commit. To replace the base in `pretrained/`,
publish the old one and add it here, so that its styles still load."""


class BaseRegistry:
    """Bases by fingerprint, held weakly: an entry lives as long as its artifact is referenced."""

    def __init__(self, former: Mapping[str, tuple[str, str | None]] = FORMER_BASES) -> None:
        self._former = former
        self._known: WeakValueDictionary[str, Artifact] = WeakValueDictionary()
        self._embedded: Artifact | None = None

    def embedded(self) -> Artifact:
        """Return the base that ships with the package."""
        if self._embedded is None:
            self._embedded = self.add(load_artifact(EMBEDDED))
        return self._embedded

    def add(self, base: Artifact) -> Artifact:
        """Register a base; return the known one if it is the same from the same place."""
        known = self._known.get(base.fingerprint)
        # the same parameters from another place are another base to a style that records where its base is
        if known is not None and known.origin == base.origin and known.config == base.config:
            return known
        self._known[base.fingerprint] = base
        return base

    def resolve(self, style: Artifact, options: DownloadOptions) -> Artifact:
        """Return the base of a style: a known one, that of the package, or the one that the style names."""
        reference = style.config.base_model
        assert reference is not None and style.origin is not None
        if (known := self._known.get(reference.fingerprint)) is not None:
            return known
        if EMBEDDED.is_dir() and self.embedded().fingerprint == reference.fingerprint:
            return self.embedded()
        where = f"{style.origin} needs the base {reference.fingerprint[:12]}"
        repo, commit = reference.repo_id, reference.revision
        if repo == "embedded":
            package = f"that of metastyle_hub {style.config.library_version}"
            repo, commit = self._former.get(reference.fingerprint, (package, None))
        # a local path is only followed for a local style: a repo must not decide what is read on this machine
        local = commit is None and style.origin.repo_id is None and Path(repo).is_dir()
        if commit is None and not local:
            raise ArtifactError(f"{where}, which is not here ({repo}); load it, then call base.load_style(style).")
        try:
            options = replace(options, force_download=False, subfolder=None)
            base = load_artifact(Path(repo) if local else repo, commit, options)
        except HubError as error:
            raise HubError(f"{where}, but: {error}") from error
        if base.config.kind != "base":
            raise ArtifactError(f"{where}, but {base.origin} is a style; load the base, then call base.load_style.")
        return self.add(base)

    def clear(self) -> None:
        """Forget all bases, so that the next style looks for its base again."""
        self._known.clear()
        self._embedded = None
