"""Videos and animations, frame by frame, with temporal smoothing.

stylize.py    a video in, a video out: a stream of frames
temporal.py   temporal smoothing of static regions
reader.py     frames and audio of videos (PyAV, the extra `video`) and of animations (Pillow)
writer.py     the same in the other direction, whole or not at all
"""
