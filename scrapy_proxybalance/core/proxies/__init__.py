"""One proxy, and what the pool keeps of it: its entry, health, score, and what is usual for it.

It knows no other request than the one that just ended, and chooses nothing.
"""
