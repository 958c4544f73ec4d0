"""What requests carry and what becomes of them: meta keys, timeouts, certificates, the HTTP cache."""
