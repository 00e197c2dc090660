"""Videos and animations, frame by frame, with temporal smoothing.

stylize.py      a video in, a video out: a stream of frames
temporal.py     temporal smoothing of static regions, and along the optical flow (flow.py, OpenCV)
reader.py       open by content: demuxer.py for videos (PyAV, the extra `video`), animation.py (Pillow)
timeline.py     times that increase, whatever the file states
color.py        decoded frames to upright sRGB: high dynamic range, wide gamut, pixel shape
writer.py       H.264 with audio.py, animations, yuv4mpeg; whole or not at all
frames.py       frames and audio packets; PyAV
"""
