"""What the methods minimise. Each function is one term, unweighted; weights stand in the presets."""
