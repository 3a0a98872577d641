"""The site: `python -m docs` (make site) builds it from what is committed, into site/."""
