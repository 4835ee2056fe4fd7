"""The networks, a family a module: each builds a FaceClassifier without its weights."""
