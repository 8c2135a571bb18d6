"""An independent float64 reference of every operator of klinear, written from the definitions."""
