"""Artifacts: the files of bases and styles as docs/format.md specifies them, their cards, and their conversion."""
