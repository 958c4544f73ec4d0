"""The local servers that the example, the tests and the benchmarks talk to.

Standard library only, and nothing in here imports Scrapy: the servers have to run in a process of
their own as well as inside a test.
"""
