"""What the reporters count, write and log."""
