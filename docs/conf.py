"""How Sphinx builds this documentation; it needs no network."""

from scrapy_proxybalance import __version__

project = "scrapy-proxybalance"
author = "The scrapy-proxybalance authors"
project_copyright = author
release = __version__
version = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
