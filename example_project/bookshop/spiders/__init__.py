"""The spiders of the example; nothing else belongs here."""
