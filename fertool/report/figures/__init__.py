"""The report's figures by matplotlib: for the page as inline SVG that follows its theme, for a paper as files."""
