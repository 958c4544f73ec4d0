"""Download handlers: what each can do, how its errors look, and one of our own."""
