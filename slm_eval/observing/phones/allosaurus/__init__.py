"""Allosaurus: 229 phones, inventories of 2,186 languages."""
