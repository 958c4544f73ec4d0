"""Whose fault a failure was: comparisons between proxies, targets and pages, and who is charged for it.

It sends nothing and chooses nothing.
"""
