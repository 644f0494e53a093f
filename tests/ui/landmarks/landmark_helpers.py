"""What the tests of the Landmarks dock share."""


def settle(dock, qtbot):
    """Wait until everything that was asked for is done."""
    qtbot.waitUntil(lambda: dock.desk.corrector.ready and not dock.busy, timeout=600_000)


def pixel_mm(viewer):
    """How many millimeters a pixel of the canvas is."""
    return 1 / viewer.scene.camera.zoom
