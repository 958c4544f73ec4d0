"""What becomes of requests: timeouts, certificates, retries, the HTTP cache."""
