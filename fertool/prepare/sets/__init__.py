"""The data sets of the field in the forms in which they are handed out: each a description over the general list."""
