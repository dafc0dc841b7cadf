"""Numbers as the words of sentences: with a point, which each reader's language replaces."""

from __future__ import annotations


def thousands(number: float) -> str:
    return f"{number:,.0f}".replace(",", "\u202f")


def percent_of(share: float) -> str:
    return f"{100 * share:.1f} %"
