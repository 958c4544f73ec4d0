"""Benchmarks. Those in this directory are scripts; ``simulate`` is a package of its own."""
