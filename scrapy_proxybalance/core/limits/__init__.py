"""How much may go: rates, caps, the retry budget, and the limit that a proxy was found to have.

Arithmetic on times and counts that the caller passes in. It knows no proxy, no target and no request.
"""
