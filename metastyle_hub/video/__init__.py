"""Films and animations in a style: frame by frame, and steady where nothing moves.

painting.py   a film in, a film out: a stream of frames
steadying.py  what keeps still places still
reading.py    frames of films (PyAV, the extra `video`) and of animations (Pillow)
writing.py    the same the other way, whole or not at all
"""
