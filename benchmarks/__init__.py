"""Measurements behind docs/benchmarks.md; each module's first lines give its command."""
