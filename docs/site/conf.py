"""Sphinx's settings for the documentation's site; `python -m tests.docs.make_site` gives it the pages."""

from importlib.metadata import version as package

project = "lobtuna"
author = "the authors of lobtuna"
version = release = package("lobtuna")
extensions = ["myst_parser"]
root_doc = "index"
nitpicky = True  # a link that leads nowhere is a warning, and a warning ends the build

myst_heading_anchors = 4  # links to headings, as a repository makes them, down to the fourth level

html_theme = "furo"
html_title = f"lobtuna {release}"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
html_use_index = False
smartquotes = False  # two hyphens begin an option
html_show_search_summary = False  # it would be fetched page by page, which files on a disk refuse
