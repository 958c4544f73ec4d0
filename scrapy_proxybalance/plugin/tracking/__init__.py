"""What a crawl keeps track of: what the queue has let out, download slots, retries, attempts."""
