"""All text that the page shows, in one place."""

from __future__ import annotations

__all__ = ["duration"]

TITLE = "MetaStyle"
INTRO = (
    "Give it **one style image**. It adapts while you watch, and then stylizes any photo in one pass. Mix styles, keep "
    "them, share them."
)

# ---- tabs
TAB_ADAPT, TAB_COMPARE, TAB_MIX, TAB_VIDEO, TAB_STYLES = "Adapt", "Compare", "Mix", "Video", "My styles"

# ---- adapt
CONTENT, CONTENT_ALT = "Content image", "The image that is stylized"
STYLE, STYLE_ALT = "Style image", "The image whose style is used"
CONTENT_EXAMPLES, STYLE_EXAMPLES = "Content images to try", "Style images to try"
STEPS, STEPS_INFO = "Steps", "The first step is predicted, the others refine it. Stop any time, and go back afterwards."
TRAINABLE, TRAINABLE_INFO = (
    "Trainable parameters",
    "More parameters come closer to the style and make a larger file: 13 kB, 0.4 MB or 7 MB.",
)
TRAINABLE_CHOICES = [("Norms only", "norm"), ("Norms and decoder", "decoder"), ("The whole network", "all")]
MORE = "More settings"
GO, STOP = "Adapt to this style", "Stop here"
PREVIEW, PREVIEW_ALT = "Live preview", "The content image, stylized at this step"
READY = "**Ready.** {estimate} Press *Adapt to this style*."
ESTIMATE = "About {seconds} for {steps} steps on this machine."
STARTING = "Reading the style image ..."
RUNNING = "**Step {index} of {steps}**, {left} left. Loss {loss:.3g}: content {content:.3g}, style {style:.3g}."
DONE = "**Adapted “{name}”** in {index} steps and {seconds}. Loss {loss:.3g}: content {content:.3g}, style {style:.3g}."
STOPPED = "**Stopped at step {index}.** “{name}” is kept as it was there."
STOPPED_EARLY = "**Stopped** before the first step. Nothing is kept."

CURVE_EMPTY = "The loss appears here during an adaptation."
CURVE_LABEL = (
    "Loss over {index} steps, on a logarithmic scale: content from {content0:.3g} to {content1:.3g}, "
    "style from {style0:.3g} to {style1:.3g}."
)
CURVE_CONTENT, CURVE_STYLE, CURVE_STEPS = "content", "style", "steps"
STEP_STRIP_TITLE = "Steps of the adaptation"
STEP_STRIP_EMPTY = "The content image after 0, 1, 5, 20, 50, 100 and 200 steps appears here."
STEP_CAPTION, STEP_ALT = "step {index}", "The content image after {index} steps"

RESULT = "Before and after"
RESULT_ALTS = ("The content image", "The stylized image")
DIVIDER = "Divider, percent"
STEP, STEP_INFO = "Step", "Go back through the adaptation; nothing is computed twice."
STRENGTH, STRENGTH_INFO = "Strength", "1 is the style, 0 the content image."
PRESERVE_COLOR, PRESERVE_COLOR_INFO = "Preserve color", "Take only light and strokes from the style."
SHOWN = "Left: the content image. Right: **{name}** at step {index} of {last}, strength {strength:g}."
SHOWN_NEAREST = " Not every step is kept; this is the nearest."
SAVE_IMAGE, SAVE_STYLE = "Image at full size", "Style as .zip"
FILE = "Your download"

# ---- compare
COMPARE_INTRO = (
    "Two versions of one image, side by side: two styles, one style at two steps, or pixel optimization. The content "
    "image is the one in the first tab."
)
LEFT, RIGHT = "Left", "Right"
SAVE_BOTH = "Both at full size"
COMPARE_ALTS = ("The left image", "The right image")
COMPARE_CAPTION = "Left: {left}. Right: {right}."
AT_STEP = "{name}, step {index}"
PIXELS_TITLE = "Pixel optimization, the slow baseline (Gatys et al. 2016)"
PIXELS_INTRO = (
    "No network is trained here: the pixels of this one image are optimized. Every further image costs the same again, "
    "where an adapted style takes one pass. The result then appears in the two lists above."
)
PIXELS_GO, PIXELS_ITERATIONS, PIXELS = "Optimize the pixels", "Iterations", "Optimized pixels"
PIXELS_ALT = "The content image, its pixels optimized towards the style image"
PIXELS_NAME = "Pixel optimization, {index} iterations"
PIXELS_STATUS = "**Iteration {index} of {iterations}**, {seconds} so far. Loss {loss:.3g}."

# ---- mix
MIX_INTRO = (
    "Styles can be interpolated: a mix is one network, whose parameters lie between those of its styles. The content "
    "image is the one in the first tab; a style can also be any `user/repo` on the Hub."
)
FIRST, SECOND = "First style", "Second style"
WEIGHT, WEIGHT_INFO = "Blend", "0 is the first style, 1 the second."
MIX, MIX_ALT = "The mix", "The content image in the mix of the two styles"
MIX_EMPTY = "**A mix needs two styles.** Adapt them in the first tab, or:"
MIX_EXAMPLES = "Adapt two of the examples now"
MIX_ADAPTING = "**Adapting “{name}”**: step {index} of {steps}, {left} left."
MIX_READY = "**{share:.0%} {first}, {rest:.0%} {second}.**"
MIX_STRIP_TITLE, MIX_STRIP_ALT = "From one style to the other", "{rest:.0%} {first}, {share:.0%} {second}"
MIX_STRIP_EMPTY = "Seven mixes from one style to the other appear here."
MIX_STRIP_GO, ANIMATION_GO, KEEP_MIX = "Strip of seven", "Animation", "Keep this mix"
ANIMATION, ANIMATION_ALT = "Animation", "The content image from the first style to the second and back"
KEPT_MIX = "**Kept** as “{name}”."
GRID_TITLE, GRID_GO = "Four styles, corner to corner", "Make the grid"
CORNERS = ("Top left", "Top right", "Bottom left", "Bottom right")
GRID, GRID_ALT = "Grid", "Grid of mixes with the four styles in its corners"

# ---- video
VIDEO_INTRO = (
    "A video in a style, frame by frame, with its audio and with temporal smoothing where nothing moves. The first "
    "{most} frames are stylized; stop any time and keep the frames so far."
)
VIDEO, VIDEO_SIZE, VIDEO_GO = "Video", "Short side, pixels", "Stylize the video"
VIDEO_PREVIEW_ALT, VIDEO_RESULT = "The last stylized frame", "The stylized video"
VIDEO_STARTING = "Opening the video ..."
VIDEO_RUNNING = "**Frame {index} of {count}**, {left} left."
VIDEO_DONE = "**Stylized** {index} frames in {seconds}."

# ---- my styles
STYLES_INTRO = (
    "The styles that you adapted, mixed or added in this session. They are deleted soon after you leave: download what "
    "you want to keep. A style never contains your content image or style image."
)
STYLES_EMPTY = "Nothing here yet. Adapt a style in the first tab, upload one, or add one from the Hub."
PICK, NEW_NAME, RENAME = "Style", "New name", "Rename"
STYLIZE_FILE, DOWNLOAD = "Stylize at full size", "Download as .zip"
UPLOAD = "Upload a .zip"
HUB_REPO, HUB_PLACEHOLDER, HUB_ADD = "From the Hugging Face Hub", "user/repo", "Add"
HUB_TITLE, HUB_SEARCH, HUB_GO = "Styles on the Hub", "Words", "Search"
HUB_INTRO = "Styles of this base that people shared."
HUB_NONE = "No styles of this base were found."
HUB_CARD = "likes {likes}, downloads {downloads}"
HUB_PREVIEW_ALT, HUB_NO_PREVIEW = "An image in the style {name}", "no preview"
PUSH_TITLE = "Share on the Hub"
PUSH_INTRO = (
    "Sign in, and the chosen style becomes a repo of yours, with a card. The app can only change repos it made."
)
PUSH_NAME, PUSH_PRIVATE, PUSH_GO = "Name of the repo", "Private", "Push"
PUSH_PREVIEW = "Add a preview: publishes the content image of the first tab in this style"
PUSHED = "**Shared**: [{repo}]({url})"
PUSH_LOGIN = "Sign in with Hugging Face first."
KIND = {"all": "whole network, 7 MB", "decoder": "norms and decoder, 0.4 MB", "norm": "norms only, 13 kB"}
TABLE = ("Name", "Parameters", "Steps")
INTERPOLATED = "mix"
RENAMED = "**Renamed** to “{name}”."
ADDED = "**Added** “{name}”."

FOOT = (
    "Images stay in this session and are deleted afterwards. The method: *MetaStyle* (Zhang, Zhu and Zhu, AAAI 2019), "
    "built from the paper as [metastyle_hub](https://github.com/metastyle-hub/metastyle_hub)."
)

# ---- errors
NO_CONTENT, NO_STYLE = "Add a content image first.", "Add a style image first."
NO_VIDEO, NO_FRAMES = "Add a video first.", "This video has no frames; choose another."
NO_JOB = "Adapt a style first; a session is deleted after an hour without use."
NO_SUCH_STYLE = "There is no style “{name}” in this session; choose one from the list, or name a repo as user/name."
NO_NAME = "Give the style a name first."
CHOOSE = "Choose a style first."
CHOOSE_TWO = "Choose two styles first."
TAKEN = "There is already a style “{name}”; choose another name."
NO_ZIP = "{name} is not a .zip with config.json and model.safetensors; upload one that “Style as .zip” gave you."
BIG_ZIP = "{name} unpacks to {size:.0f} MB, more than a style can have ({most:.0f} MB); upload another."
GONE = "{name} is not here any more; please upload it again."
UNEXPECTED = "Something went wrong on our side. Please try again; nothing that you kept is lost."


def duration(seconds: float) -> str:
    """Return a duration in words.

    >>> duration(0.4), duration(42), duration(150)
    ('1 s', '42 s', '2.5 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min"
