"""The suites, a family of figures a module; `fertool.score.registry` lists them."""
