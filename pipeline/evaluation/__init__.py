"""How well a network does: counts, scores, mistakes."""
