"""Settings: read, checked and told in words where they cannot work."""
