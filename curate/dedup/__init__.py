"""Duplicates: exact copies by content hash, near duplicates by MinHash, LSH and verified similarity."""
