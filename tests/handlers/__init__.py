"""Crawls with the download handlers that there are, and with some that nobody should have."""
