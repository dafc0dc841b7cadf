"""Tests of waffle's that our model fails, with the reason; each is about a phase."""

DIFFERENCES: dict[str, str] = {}
