"""What the public sees of whole crawls, compared with what was seen before: see ``test_crawls``."""
