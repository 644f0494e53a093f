"""The window: the only room with Qt and napari."""
