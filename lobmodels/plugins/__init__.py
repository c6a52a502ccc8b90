"""Networks, losses, feature groups of the user's, from a file or a package: declared, checked, then used by name.

A plugin is a Python file that registers its parts with decorators (`lobtuna.plugins`, `docs/plugins.md`). What it
declares is data and may be read anywhere, without torch; its source is run only where somebody has asked for that.
"""
