"""Preparation: from a release's files to packed volumes on a grid of MNI152, and its verification."""
