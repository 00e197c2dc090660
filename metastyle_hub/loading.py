"""From a folder or repo to parameters, and which base a style stands on: one in use, ours, or the one it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from metastyle_hub.artifacts.config import CONFIG_FILE, ArtifactConfig, ArtifactError
from metastyle_hub.artifacts.files import Artifact, read_artifact
from metastyle_hub.hub.reading import EMBEDDED, HubError, HubOptions, Snapshot, fetch
from metastyle_hub.parameter_sets import ParameterSet
from metastyle_hub.parameters import Parameters

__all__ = ["FORMER_BASES", "Bases", "load", "placed"]

B = TypeVar("B", bound=ParameterSet)

FORMER_BASES: Mapping[str, tuple[str, str]] = {}
"""Bases that former versions of this package shipped: fingerprint -> repo and commit. Whoever replaces the base in
`pretrained/` publishes the old one and adds its line, so that styles of it live on."""


def load(
    source: str | os.PathLike[str], revision: str | None = None, options: HubOptions | None = None
) -> tuple[Artifact, Snapshot]:
    """What is in a folder or repo, checked, and where that is.

    Raises:
        ArtifactError, HubError: see `hub.fetch` and `artifacts.read_artifact`.

    >>> artifact, origin = load("me/starry@v1")
    """
    origin = fetch(source, revision, options)
    return read_artifact(origin.folder, str(origin)), origin


class Bases(Generic[B]):
    """The bases in use, by fingerprint: ten styles on one base cost one base.

    Args:
        make: a base of what was read, and from where.
        former: where the bases of former versions of the package are.
    """

    def __init__(
        self, make: Callable[[Artifact, Snapshot], B], former: Mapping[str, tuple[str, str]] = FORMER_BASES
    ) -> None:
        self._make, self._former = make, former
        self._known: WeakValueDictionary[str, B] = WeakValueDictionary()
        self._embedded: B | None = None

    def embedded(self) -> B:
        """The base in the package."""
        if self._embedded is None:
            self._embedded = self.remember(read_artifact(EMBEDDED, "the package's own base"), Snapshot(EMBEDDED))
        return self._embedded

    def remember(self, artifact: Artifact, origin: Snapshot) -> B:
        """The base that was read; the one in use if it is the same, from the same place."""
        base = self._make(artifact, origin)
        known = self._known.get(base.fingerprint)
        # the same numbers from another place are another base to whoever saves a style of it
        if known is not None and known.origin == base.origin and known.config == base.config:
            return known
        self._known[base.fingerprint] = base
        return base

    def of_style(self, config: ArtifactConfig, style: Snapshot, options: HubOptions) -> B:
        """The base that a style names: one in use or in the package if the fingerprint matches, else its place.

        Raises:
            ArtifactError: it is not to be had here, or what is there is no base.
            HubError: the Hub or the way there failed.
        """
        reference = config.base_model
        assert reference is not None
        if (known := self._known.get(reference.fingerprint)) is not None:
            return known
        if (EMBEDDED / CONFIG_FILE).is_file() and self.embedded().fingerprint == reference.fingerprint:
            return self.embedded()
        where = f"{style} needs the base {reference.fingerprint[:12]}"
        if reference.repo_id == "embedded":
            if reference.fingerprint not in self._former:
                raise ArtifactError(
                    f"{where} of another version of metastyle_hub ({config.library_version}); install that."
                )
            repo, commit = self._former[reference.fingerprint]
            reference = replace(reference, repo_id=repo, revision=commit)
        # a folder is only looked up for a style from a folder: a repo has no say in what is read on this machine
        local = reference.revision is None and style.repo_id is None and Path(reference.repo_id).is_dir()
        if reference.revision is None and not local:
            raise ArtifactError(
                f"{where}, which is not here ({reference.repo_id}); load it first, then base.apply(style)."
            )
        try:
            place = Path(reference.repo_id) if local else reference.repo_id
            artifact, origin = load(place, reference.revision, replace(options, force_download=False))
        except HubError as error:
            raise HubError(f"{where}, but: {error}") from error
        if artifact.config.kind != "base":
            raise ArtifactError(f"{where}, but {origin} is a style; load the base first, then base.apply(style).")
        return self.remember(artifact, origin)

    def clear(self) -> None:
        """Forget all, so that the next style looks for its base anew."""
        self._known.clear()


def placed(artifact: Artifact, base: ParameterSet, origin: Snapshot | None) -> Parameters:
    """All parameters of a style on its base; those that the style leaves alone are the base's own tensors.

    Raises:
        ArtifactError: it is a style of another base.
    """
    reference = artifact.config.base_model
    assert reference is not None
    if base.fingerprint != reference.fingerprint:
        raise ArtifactError(
            f"{origin or artifact.config.name or 'The style'} was adapted from base {reference.fingerprint[:12]} "
            f"({reference.repo_id}), not from {base.fingerprint[:12]}; load it together with its own base."
        )
    if artifact.config.architecture != base.config.architecture:
        raise ArtifactError(f"{origin or 'The style'} has another architecture than its base; it is damaged.")
    return {**base.parameters, **{name: p.to(base.device) for name, p in artifact.parameters.items()}}
