"""How Sphinx makes the pages into a site; read by docs/site/build.py."""

project = "Recast"
html_title = "Recast"
copyright = "the authors of Recast, Apache-2.0"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "README"

# anchors as GitHub makes them
myst_heading_anchors = 6
nitpicky = True
# messages and commands stay as they are typed
smartquotes = False

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["recast.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
# a page that was opened as a file may not read others
html_show_search_summary = False
pygments_style = "default"
pygments_dark_style = "github-dark"
highlight_language = "none"
html_theme_options = {"footer_icons": []}
