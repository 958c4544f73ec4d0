"""Which proxy takes a request: what the request wants, what its target allows, where its session is."""
