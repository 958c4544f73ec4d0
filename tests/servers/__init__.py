"""Crawls through proxies that others have written: Squid and Tinyproxy."""
