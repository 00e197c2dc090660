"""The styles of a visitor stay in the browser: they survive a reload, and a server that has forgotten the session.

The server hands out each style as the .zip that a visitor can save; the page keeps it in IndexedDB, and uploads it
again when it is opened next time. So a style comes back through the checks of any upload.
"""

from __future__ import annotations

import logging
from pathlib import Path

from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Studio
from metastyle_hub.errors import SessionError

__all__ = ["KEEP", "RESTORE", "packed", "restore"]

log = logging.getLogger(__name__)

_OPEN = """
  const styles = await new Promise((resolve) => {
    const request = indexedDB.open('metastyle', 1);
    request.onupgradeneeded = () => request.result.createObjectStore('styles', {keyPath: 'name'});
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);  // a private window
  });
  const done = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
"""

KEEP = f"""async (files) => {{{_OPEN}
  if (!styles) return [];
  const before = await done(styles.transaction('styles').objectStore('styles').getAll());
  const known = new Map(before.map((style) => [style.name, style]));
  const kept = [];
  for (const [order, file] of (files || []).entries()) {{
    const same = known.get(file.orig_name);
    const data = same && same.url === file.url ? same.data : await (await fetch(file.url)).blob();
    kept.push({{name: file.orig_name, url: file.url, order, data}});
  }}
  const store = styles.transaction('styles', 'readwrite').objectStore('styles');
  // another tab of this browser may keep other styles
  const names = new Set(kept.map((style) => style.name));
  (window.metastyleKept || []).forEach((name) => names.has(name) || store.delete(name));
  kept.forEach((style) => store.put(style));
  window.metastyleKept = [...names];
  return [];
}}"""
"""JavaScript for an event with the files of `packed`: the browser keeps these styles."""

RESTORE = f"""async (files_, style_, ...others) => {{{_OPEN}
  const style = new URLSearchParams(location.search).get('style') || '';
  if (!styles) return [[], style, ...others];
  const kept = await done(styles.transaction('styles').objectStore('styles').getAll());
  const files = [];
  for (const {{name, data}} of kept.sort((a, b) => a.order - b.order)) {{
    const form = new FormData();
    form.append('files', data, name);
    const answer = await fetch(new URL('gradio_api/upload', document.baseURI), {{method: 'POST', body: form}});
    if (answer.ok) files.push({{path: (await answer.json())[0], orig_name: name, meta: {{_type: 'gradio.FileData'}}}});
  }}
  window.metastyleKept = files.map((file) => file.orig_name);
  return [files, style, ...others];
}}"""
"""JavaScript for the load event: the files that the browser has kept, and the style that the address names."""


def packed(studio: Studio, session: Session) -> list[str]:
    """Return the styles of a session as files; each is written once."""
    files = {}
    for name, style in session.styles.items():
        before = session.files.get(name)
        if before is None or before[0] is not style or not before[1].exists():
            before = style, studio.downloads.save_style(style, name)
        files[name] = before
    session.files = files
    return [str(path) for _, path in files.values()]


def restore(studio: Studio, files: list[str], session: Session) -> int:
    """Add the styles that a browser has kept; return how many of them could be used."""
    count = 0
    for file in files:
        try:
            studio.upload(Path(file), session)
            count += 1
        except SessionError as error:
            log.info("A style that a browser kept is left out: %s", error)
    return count
