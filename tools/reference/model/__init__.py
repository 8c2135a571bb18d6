"""The whole model in float64: files, configuration, weights and the forward pass, written from the published
definitions with none of the library's code."""
