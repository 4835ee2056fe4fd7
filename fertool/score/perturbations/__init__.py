"""Changes to faces (covered regions, corruptions) and the network's answers to them."""
