"""Every English word that the page shows, in one place."""

from __future__ import annotations

TITLE = "MetaStyle"
INTRO = (
    "Show it **one picture**. It learns the style while you watch, and from then on paints any photo that way in a "
    "blink. Mix what it learned, keep it, share it."
)

# ---- the tabs
TAB_ADAPT, TAB_COMPARE, TAB_MIX, TAB_VIDEO, TAB_STYLES = "Adapt", "Compare", "Mix", "Video", "My styles"

# ---- adapt
PHOTO, PHOTO_ALT = "Photo", "The photo that is painted"
STYLE, STYLE_ALT = "Style", "The picture whose style is learned"
PHOTO_EXAMPLES, STYLE_EXAMPLES = "Photos to try", "Styles to try"
STEPS, STEPS_INFO = (
    "Steps",
    "The first one guesses the style, the others refine it. Stop at any time, and scrub back afterwards.",
)
TRAINABLE, MOVES_INFO = (
    "What is learned",
    "More of the network gets closer to the style, and makes a larger file: 13 kB, 0.4 MB or 7 MB.",
)
MOVES_CHOICES = [("Norms only", "norm"), ("Norms and decoder", "decoder"), ("The whole network", "all")]
MORE = "More settings"
GO, STOP = "Learn this style", "Stop here"
PREVIEW, PREVIEW_ALT = "Live", "The photo as painted at this step"
READY = "**Ready.** {estimate} Press *Learn this style* and watch."
ESTIMATE = "About {seconds} for {steps} steps on this machine."
STARTING = "Looking at the style picture ..."
RUNNING = "**Step {index} of {steps}**, {left} left. Loss {loss:.3g}: content {content:.3g}, style {style:.3g}."
DONE = "**Learned “{name}”** in {index} steps and {seconds}. Loss {loss:.3g}: content {content:.3g}, style {style:.3g}."
STOPPED = "**Stopped at step {index}**: “{name}” is kept as it was there."
STOPPED_EARLY = "**Stopped** before the first step. Nothing was learned."

CURVE_EMPTY = "The loss goes here while a style is learned."
CURVE_LABEL = (
    "Loss over {index} steps, on a logarithmic scale: content from {content0:.3g} to {content1:.3g}, "
    "style from {style0:.3g} to {style1:.3g}."
)
CURVE_CONTENT, CURVE_STYLE, CURVE_STEPS = "content", "style", "steps"
FILM_EMPTY = "The film of the adaptation appears here: the photo at steps 0, 1, 5, 20, 50, 100 and 200."
FILM_TITLE = "Film of the adaptation"
FILM_CAPTION, FILM_ALT = "step {index}", "The photo after {index} steps"

RESULT = "Before and after"
RESULT_ALTS = ("The photo before", "The photo after")
DIVIDER = "Divider, percent"
SCRUB, SCRUB_INFO = "Step", "Go back through the adaptation; nothing is computed twice."
STRENGTH, STRENGTH_INFO = "Strength", "1 is the style, 0 the photo."
KEEP_COLORS, KEEP_COLORS_INFO = "Keep the photo's colours", "Only light and strokes come from the style."
SHOWN = "Left: the photo. Right: **{name}** at step {index} of {last}, strength {strength:g}."
SHOWN_NEAREST = " Not every step is kept; this is the nearest."
SAVE_PICTURE, SAVE_STYLE = "Picture at full size", "Style as .zip"
FILE = "Your download"

# ---- compare
COMPARE_INTRO = (
    "Two pictures of one photo, side by side: two styles, one style at two step counts, or the slow classic. "
    "The photo is the one in the first tab."
)
LEFT, RIGHT = "Left", "Right"
SAVE_BOTH = "Both at full size"
COMPARE_ALTS = ("The left picture", "The right picture")
COMPARE_ALT = "Left: {left}. Right: {right}."
THE_PHOTO = "The photo"
AT_STEP = "{name}, step {index}"
CLASSIC_TITLE = "The slow classic: optimise the pixels (Gatys 2016)"
CLASSIC_INTRO = (
    "No network is trained here: the pixels of this one photo are changed until the loss is low. Every further photo "
    "costs the same again, where an adapted style takes one pass. Afterwards it stands in the two lists above."
)
CLASSIC_GO, CLASSIC_ITERATIONS, CLASSIC_PICTURE = "Optimise the pixels", "Iterations", "Pixels being optimised"
CLASSIC_ALT = "The photo, its pixels optimised towards the style picture"
CLASSIC_NAME = "Pixel optimisation, {index} iterations"
CLASSIC_STATUS = "**Iteration {index} of {iterations}**, {seconds} so far. Loss {loss:.3g}."

# ---- mix
MIX_INTRO = (
    "What was learned can be mixed: every picture between two styles is painted by one network, whose parameters lie "
    "between theirs. The photo is the one in the first tab; a style can also be any `user/repo` on the Hub."
)
FIRST, SECOND = "First style", "Second style"
SHARE, SHARE_INFO = "Blend", "0 is the first style, 1 the second."
MIXED, MIXED_ALT = "The mix", "The photo painted by the mix of the two styles"
MIX_EMPTY = "**It takes two styles to mix.** Learn them in the first tab, or:"
MIX_LEARN = "Learn two of the examples now"
MIX_LEARNING = "**Learning “{name}”**: step {index} of {steps}, {left} left."
MIX_READY = "**{share:.0%} {first}, {rest:.0%} {second}.**"
STRIP_TITLE, STRIP_ALT = "From one to the other", "{rest:.0%} {first}, {share:.0%} {second}"
STRIP_EMPTY = "Seven blends from one style to the other appear here."
STRIP_GO, SWEEP_GO, KEEP_MIX = "Strip of seven", "Animated sweep", "Keep this mix"
SWEEP, SWEEP_ALT = "The sweep", "The photo going from the first style to the second and back"
KEPT_MIX = "**Kept** as “{name}”."
GRID_TITLE, GRID_GO = "Four styles, corner to corner", "Paint the grid"
CORNERS = ("Top left", "Top right", "Bottom left", "Bottom right")
GRID, GRID_ALT = "Grid", "Grid of blends with the four styles in its corners"

# ---- video
VIDEO_INTRO = (
    "A film in a style, frame by frame, with its sound. What stands still in it stays still. The first {most} frames "
    "are painted; stop at any time and keep what there is."
)
VIDEO, VIDEO_SIZE, VIDEO_GO = "Film", "Short side, pixels", "Paint the film"
VIDEO_ALT, VIDEO_PAINTED = "The frame that was painted last", "The painted film"
VIDEO_STARTING = "Opening the film ..."
VIDEO_RUNNING = "**Frame {index} of {count}**, {left} left."
VIDEO_DONE = "**Painted** {index} frames in {seconds}."

# ---- my styles
STYLES_INTRO = (
    "What you learned, mixed or added during this visit. It is forgotten soon after you leave: download what you want "
    "to keep. A style never contains your photo or the style picture."
)
STYLES_EMPTY = "Nothing here yet. Learn a style in the first tab, upload one, or add one from the Hub."
PICK, NEW_NAME, RENAME = "Style", "New name", "Rename"
PAINT, DOWNLOAD = "Paint the photo, full size", "Download as .zip"
UPLOAD = "Upload a .zip"
HUB_REPO, HUB_PLACEHOLDER, HUB_ADD = "From the Hugging Face Hub", "user/repo", "Add"
HUB_TITLE, HUB_SEARCH, HUB_GO = "Styles on the Hub", "Search", "Look"
HUB_INTRO = "Styles of this very base that people shared."
HUB_NONE = "No styles of this base were found."
HUB_CARD = "likes {likes}, downloads {downloads}"
HUB_NO_PREVIEW = "no preview"
PUSH_TITLE = "Share on the Hub"
PUSH_INTRO = "Sign in, and the chosen style becomes a repo of yours, with a card. It may only touch repos it made."
PUSH_NAME, PUSH_PRIVATE, PUSH_GO = "Name of the repo", "Private", "Push"
PUSH_PREVIEW = "Add a preview: publishes the photo of the first tab in this style"
PUSHED = "**Shared**: [{repo}]({url})"
PUSH_LOGIN = "Sign in with Hugging Face first."
KIND = {"all": "whole network, 7 MB", "decoder": "norms and decoder, 0.4 MB", "norm": "norms only, 13 kB"}
TABLE = ("Name", "What", "Steps")
MIXTURE = "mix"
RENAMED = "**Renamed** to “{name}”."
ADDED = "**Added** “{name}”."

FOOT = (
    "Photos stay in this session and are deleted afterwards. The method: *MetaStyle* (Zhang, Zhu and Zhu, AAAI 2019), "
    "built from the paper as [metastyle_hub](https://github.com/metastyle-hub/metastyle_hub)."
)

# ---- what went wrong
NO_PHOTO, NO_STYLE = "Add a photo first.", "Add a style picture first."
NO_VIDEO, NO_FRAMES = "Add a film first.", "There are no frames in this film; choose another."
NO_RUN = "Learn a style first; a visit is forgotten after an hour without use."
NO_SUCH_STYLE = "There is no style “{name}” in this visit; choose one from the list, or name a repo as user/name."
NO_NAME = "Give the style a name first."
CHOOSE = "Choose a style first."
CHOOSE_TWO = "Choose two styles first."
TAKEN = "There is a style “{name}” already; choose another name."
NO_ZIP = "{name} is no .zip with config.json and model.safetensors in it; upload what “Style as .zip” gave you."
BIG_ZIP = "{name} unpacks to {size:.0f} MB, more than a style can have ({most:.0f} MB)."
GONE = "{name} is not here any more; please upload it again."
UNEXPECTED = "Something went wrong on our side. Please try again; nothing you kept is lost."


def duration(seconds: float) -> str:
    """A length of time as people say it.

    >>> duration(0.4), duration(42), duration(150)
    ('1 s', '42 s', '2.5 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min"
