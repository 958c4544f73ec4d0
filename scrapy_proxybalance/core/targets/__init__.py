"""The target gate: how much a site may get now, and until when it asked to be left alone.

It knows no proxy.
"""
