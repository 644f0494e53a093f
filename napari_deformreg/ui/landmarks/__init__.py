"""The Landmarks dock's parts: pairs of points that correct a registration. `pair_list` and `history` need neither Qt nor napari."""
