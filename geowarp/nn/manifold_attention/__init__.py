"""Attention whose weights come from distances on a manifold."""
