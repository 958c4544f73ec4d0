"""``robots.txt`` through the pool: fetched before the pages of a site, and never taken from a proxy."""
