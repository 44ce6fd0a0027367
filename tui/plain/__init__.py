"""Line-mode twins of the screens: no cursor movement, no box drawing."""
