"""Sphinx settings of the documentation: `make docs` writes it to build/docs. Pages are plain Markdown (MyST)."""

from importlib.metadata import version as installed_version

project = "birdcache"
author = "the authors of birdcache"
project_copyright = ""
release = version = installed_version("birdcache")

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build"]
nitpicky = True

# links to headings, as code hosts make them: [how](trust.md#the-store-and-the-stages)
myst_heading_anchors = 3
# blocks say their language; one that says none is plain text
highlight_language = "none"

html_theme = "furo"
html_title = "birdcache"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
