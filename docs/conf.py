"""Sphinx settings: ``make docs`` writes the pages to docs/build."""

import geowarp

project = "geowarp"
author = copyright = "The geowarp developers"
version = release = geowarp.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
exclude_patterns = ["build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["autodoc.mocked_object"]
