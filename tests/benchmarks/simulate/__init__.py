"""A simulator: the real pool, and rules it is compared with, carry a crawl in virtual time.

Run it with ``python -m tests.benchmarks.simulate``; ``docs/benchmarks.md`` says what it shows.
"""
