"""A crawl from start to end: what it says first, what a job remembers, how it closes."""
