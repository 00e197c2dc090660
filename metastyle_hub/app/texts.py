"""All text that the page shows, in one place."""

from __future__ import annotations

__all__ = ["duration", "left", "queued", "time_left"]

TITLE = "MetaStyle"
INTRO = (
    "Press a style, or give it **one style image** of your own: it adapts while you watch, and then stylizes any photo "
    "in one pass."
)
DESCRIPTION = "Photos and videos in the style of one image: ready styles at once, your own in a minute."
PREVIEW_URL = "https://raw.githubusercontent.com/metastyle-hub/metastyle_hub/main/docs/gallery.jpg"

# ---- tabs
TAB_STYLIZE, TAB_COMPARE, TAB_MIX, TAB_VIDEO, TAB_STYLES = "Stylize", "Compare", "Mix", "Video", "My styles"

# ---- all tabs
STOP, PROGRESS = "Stop", "Progress"
REFUSED = "Not done"
STOPPED_NOTHING = "**Stopped.** Nothing is kept."
PREPARING = "Preparing the file ..."
FULL_SIZE = "Stylizing at full size"
SAVED = "**Saved** as {names}."
FETCHING = "Loading “{name}” from the Hugging Face Hub ..."
STRENGTH, STRENGTH_INFO = "Strength", "1 is the style, 0 the content image."
SCALE, SCALE_INFO = "Stroke size", "1 is usual, 3 three times as wide."
PRESERVE_COLOR, PRESERVE_COLOR_INFO = "Preserve color", "Take only light and strokes from the style."
SAVE_IMAGE, SAVE_FULL = "Save image", "Save at full size"
FORMAT, FORMATS = "File", [("JPEG", ".jpg"), ("PNG", ".png")]

# ---- stylize
ADD_IMAGE = "Add an image"
CONTENT, CONTENT_ALT = "Content image", "The image that is stylized"
CONTENT_EXAMPLES, STYLES_TITLE = "Photos to try", "Styles"
RESULT = "Before and after"
RESULT_ALTS = ("The content image", "The stylized image")
DIVIDER = "Divider, percent"
PREDICTING, NO_PREDICTOR = "Predicting the style ...", "**Ready.** Press “Adapt to this style”."
STYLIZING = "Stylizing with “{name}” ..."
SHOWN = "**{name}** on {content}"
SHOWN_PREDICTED = "**{name}** on {content}, predicted from your image. “Adapt to this style” comes closer to it."
SHOWN_STEP = "**{name}** on {content}, after step {index} of {last}"
SHOWN_WITH = ", strength {strength:g}"

# ---- adapt
STYLE, STYLE_ALT = "Style image of your own", "The image whose style is used"
ADAPT_INFO = "A style image of your own gives a style at once, a prediction. Gradient steps come closer to it."
STEPS, STEPS_INFO = "Steps", "Stop any time, and go back through them afterwards."
TRAINABLE, TRAINABLE_INFO = (
    "Trainable parameters",
    "More parameters come closer to the style and make a larger file: 13 kB, 0.4 MB or 7 MB.",
)
TRAINABLE_CHOICES = [("Norms only", "norm"), ("Norms and decoder", "decoder"), ("The whole network", "all")]
MORE = "More settings"
GO = "Adapt to this style"
ESTIMATE = "About {seconds} for {steps} steps on this machine."
NO_ESTIMATE = "The first adaptation measures how long a step takes here."
STARTING = "Reading the style image ..."
RUNNING = "**Step {index} of {steps}**{left}. Loss {loss:.3g}: content {content:.3g}, style {style:.3g}."
DONE = "**Adapted “{name}”** in {index} steps and {seconds}. Loss {loss:.3g}: content {content:.3g}, style {style:.3g}."
PREDICTED = "**Predicted “{name}”**, without a gradient step."
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
STEP, STEP_INFO = "Step", "Go back through the adaptation; nothing is computed twice."
SAVE_STYLE = "Save style as .zip"

# ---- compare
COMPARE_INTRO = (
    "Two versions of the content image, side by side: two styles, one style at two steps, or pixel optimization."
)
LEFT, RIGHT = "Left", "Right"
SAVE_BOTH, SAVE_SIDE_BY_SIDE = "Save both at full size", "Save side by side"
COMPARE_ALTS = ("The left image", "The right image")
COMPARE_CAPTION = "Left: **{left}**. Right: **{right}**."
COMPARING = "Stylizing both ..."
AT_STEP = "{name}, step {index}"
PIXELS_TITLE = "Pixel optimization, the slow baseline (Gatys et al. 2016)"
PIXELS_INTRO = (
    "No network is trained here: the pixels of this one image are optimized towards the style image of the first tab. "
    "Every further image costs the same again, where an adapted style takes one pass."
)
PIXELS_GO, PIXELS_ITERATIONS = "Optimize the pixels", "Iterations"
PIXELS_NAME = "{content} optimized towards {style}, {index} iterations"
PIXELS_STARTING = "Loading the feature extractor ..."
PIXELS_STATUS = "**Iteration {index} of {iterations}**{left}. Loss {loss:.3g}."
PIXELS_DONE = "**{name}**, in {seconds}. It is now on the right."
WRONG_CONTENT = "“{name}” is of another content image; choose another version."

# ---- mix
MIX_INTRO = (
    "Styles can be interpolated: a mix is one network, whose parameters lie between those of its styles. A style can "
    "also be any `user/repo` on the Hub."
)
FIRST, SECOND = "First style", "Second style"
WEIGHT, WEIGHT_INFO = "Blend", "0 is the first style, 1 the second."
MIX, MIX_ALT = "The mix", "The content image in the mix of the two styles"
MIX_EMPTY = "**A mix needs two styles.** Adapt them in the first tab, or:"
MIX_EXAMPLES = "Adapt two of the examples now"
MIX_ADAPTING = "**Adapting “{name}”**: step {index} of {steps}{left}."
MIXING = "Mixing ..."
MIX_READY = "**{share:.0%} {first}, {rest:.0%} {second}.**"
MIX_STRIP_TITLE, MIX_STRIP_ALT = "From one style to the other", "{rest:.0%} {first}, {share:.0%} {second}"
MIX_STRIP_EMPTY = "Seven mixes from one style to the other appear here."
MIX_STRIP_GO, ANIMATION_GO, KEEP_MIX = "Strip of seven", "Animation", "Keep this mix"
MIX_COUNT = "**Image {index} of {count}** ..."
ANIMATION, ANIMATION_ALT = "Animation", "The content image from the first style to the second and back"
ANIMATION_DONE = "**Animation** of {first} and {second}."
KEPT_MIX = "**Kept** as “{name}”."
GRID_TITLE, GRID_GO, GRID_DONE = "Four styles, corner to corner", "Make the grid", "**Grid** of four styles."
CORNERS = ("Top left", "Top right", "Bottom left", "Bottom right")
GRID, GRID_ALT = "Grid", "Grid of mixes with the four styles in its corners"

# ---- video
VIDEO_INTRO = (
    "A video in a style, frame by frame, with its audio and with temporal smoothing. The first "
    "{most} frames are stylized; stop any time and keep the frames so far."
)
VIDEO, VIDEO_SIZE, VIDEO_GO = "Video", "Short side, pixels", "Stylize the video"
PREVIEW = "Live preview"
VIDEO_PREVIEW_ALT, VIDEO_RESULT = "The last stylized frame", "The stylized video"
VIDEO_STARTING = "Opening the video ..."
VIDEO_RUNNING = "**Frame {index} of {count}**, {left} left."
SAVE_VIDEO = "Save the video"
VIDEO_DONE = "**Stylized** {index} frames in {seconds}."

# ---- my styles
STYLES_INTRO = (
    "The styles that you adapted, mixed or added. They stay in this browser until you delete them; the server forgets "
    "them soon after you leave. A style never contains your content image or style image."
)
STYLES_EMPTY = "Nothing here yet. Adapt a style in the first tab, upload one, or add one from the Hub."
PICK, NEW_NAME, RENAME = "Style", "New name", "Rename"
USE, DOWNLOAD, DELETE = "Use on the photo", "Save as .zip", "Delete"
DELETED = "**Deleted** “{name}”."
RESTORED = "**{count} of your styles** came back from your last visit."
UPLOAD = "Upload a .zip"
HUB_REPO, HUB_PLACEHOLDER, HUB_ADD = "From the Hugging Face Hub", "user/repo", "Add"
HUB_TITLE, HUB_SEARCH, HUB_GO = "Styles on the Hub", "Words", "Search"
HUB_INTRO = "Styles of this base that people shared."
SEARCHING, PUSHING = "Searching the Hugging Face Hub ...", "Pushing to the Hugging Face Hub ..."
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

# ---- on your own device
TAB_DEVICE = "On your own device"
DEVICE = (
    "The same network also runs **in your own browser**: it predicts the style of an artwork, refines it while you "
    "watch, mixes styles and stylizes the webcam. No image leaves your device, nobody waits in a queue, and after the "
    "first visit it works without a network.\n\n"
    "[Open the page in its own tab](https://huggingface.co/spaces/{space}-browser)"
)

FOOT = (
    "Images stay in this session and are deleted afterwards; styles stay in your browser. The method: *MetaStyle* "
    "(Zhang, Zhu and Zhu, AAAI 2019), built from the paper as [metastyle_hub](https://github.com/metastyle-hub/metastyle_hub)."
)

# ---- endpoints
WORKING, FRAMES, IMAGES = "Working ...", "frames", "images"
NO_DOWNLOAD = "“{name}” cannot be fetched; give a public http(s) address or a data URL."
NAME_STYLE = "Name a style in “style”, or send its .zip as “style_file”."
WRONG_VALUE = "{name} cannot be {value!r}: {reason}."

# ---- errors
NO_CONTENT, NO_STYLE = "Add a content image first.", "Add a style image first."
NO_VIDEO, NO_FRAMES = "Add a video first.", "This video has no frames; choose another."
NO_RESULT = "Stylize a video first."
NO_JOB = "Adapt a style first; a session is deleted after an hour without use."
NO_SUCH_STYLE = "There is no style “{name}” in this session; choose one from the list, or name a repo as user/name."
NO_NAME = "Give the style a name first."
CHOOSE = "Choose a style first."
CHOOSE_TWO = "Choose two styles first."
QUEUE_FULL = "{count} adaptations are waiting already; try again in a few minutes. Everything else works meanwhile."
TAKEN = "There is already a style “{name}”; choose another name."
NO_ZIP = "{name} is not a .zip with config.json and model.safetensors; upload one that “Save style as .zip” gave you."
BIG_ZIP = "{name} unpacks to {size:.0f} MB, more than a style can have ({most:.0f} MB); upload another."
GONE = "{name} is not here any more; please upload it again."
NO_IMAGE = "“{name}” cannot be opened as an image; choose a JPEG, PNG, WebP, HEIC or AVIF photo."
HUGE_IMAGE = "“{name}” has {megapixels:.0f} megapixels, more than this page can open; save it smaller."
SHRUNK = "“{name}” has {megapixels:.0f} megapixels and is stylized with {most:.0f}."
NO_VIDEO_FILE = "“{name}” cannot be read as a video; choose an MP4, MOV or WebM."
NO_IMAGES = "“{name}” is not a .zip with images; choose another."
MANY_IMAGES = "“{name}” holds more than {count} files or {most:.0f} MB; choose a smaller .zip."
GIVE_SIZE = "“{name}” has {megapixels:.0f} megapixels, more than {most:.0f}; pass a size to have it shrunk."
FULL = "Your {count} styles take {used:.0f} of {most:.0f} MB, and this one needs {size:.1f} MB; delete one first."
NO_STYLE_ZIP = "“{name}” holds no style for this page: it is damaged, or of another base; choose another .zip."
NO_REPO = "There is no public style “{name}” on the Hugging Face Hub; check the spelling."
NO_STYLE_REPO = "“{name}” on the Hugging Face Hub holds no style for this page; choose another."
SIGN_IN_AGAIN = "The Hugging Face Hub does not let you do this; sign out, sign in again and retry."
HUB_FAILS = "The Hugging Face Hub cannot be reached now; try again in a few minutes."
UNEXPECTED = "Something went wrong on our side. Please try again; nothing that you kept is lost."


def queued(position: int, seconds: float | None) -> str:
    """Return the position in the queue in words.

    >>> queued(2, 40)
    '**2 before you** in the queue, about 40 s.'
    """
    time = "" if seconds is None else f", about {duration(seconds)}"
    return f"**{position} before you** in the queue{time}."


def left(seconds: float | None) -> str:
    """Return the time that an action still takes, as the end of a phrase.

    >>> left(5), left(None)
    (', 5 s left', '')
    """
    return "" if seconds is None else f", {duration(seconds)} left"


def time_left(text: str, seconds: float | None) -> str:
    """Return what an action does and how long it will still take.

    >>> time_left("Stylizing", 5), time_left("Stylizing", None)
    ('Stylizing, 5 s left.', 'Stylizing ...')
    """
    return f"{text}{left(seconds)}." if seconds is not None else f"{text} ..."


def duration(seconds: float) -> str:
    """Return a duration in words.

    >>> duration(0.4), duration(42), duration(150)
    ('1 s', '42 s', '2.5 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min"
