"""The page: templates, style and behaviour, and what fills them."""
