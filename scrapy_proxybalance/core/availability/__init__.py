"""Who can take a request now: free leases of proxies and gateways, kept as they come and go."""
