"""The theme: paper, ink and one warm color, in the fonts of the system, so that no request is made."""

from __future__ import annotations

import gradio as gr

__all__ = ["theme"]


def theme() -> gr.themes.Base:
    """Return the theme. Text has a contrast of at least 4.5 to its background, in light and dark."""
    plain = {
        "body_background_fill": "*neutral_50",
        "block_background_fill": "white",
        "block_border_width": "1px",
        "block_border_color": "*neutral_200",
        "block_shadow": "none",
        "body_text_color_subdued": "*neutral_600",
        # white on the 500 of an orange has a contrast of 2.8
        "color_accent": "*primary_700",
        "link_text_color": "*primary_700",
        "link_text_color_hover": "*primary_800",
        "link_text_color_active": "*primary_800",
        "link_text_color_visited": "*primary_700",
        "button_primary_background_fill": "*primary_700",
        "button_primary_background_fill_hover": "*primary_800",
        "button_secondary_background_fill_hover": "*neutral_100",
        "button_secondary_text_color_hover": "*neutral_900",
        "button_cancel_background_fill": "*neutral_800",
        "button_cancel_background_fill_hover": "*neutral_900",
        "button_cancel_text_color": "white",
        "slider_color": "*primary_700",
        "checkbox_background_color_selected": "*primary_700",
        "checkbox_border_color_selected": "*primary_700",
        "checkbox_label_background_fill_selected": "*primary_700",
        "checkbox_label_border_color_selected": "*primary_700",
        "block_info_text_color": "*neutral_600",
        "input_border_width": "1px",
        "input_border_color": "*neutral_300",
        "checkbox_border_color": "*neutral_400",
        "block_title_background_fill": "none",
        "block_title_padding": "0",
        "block_title_text_color": "*body_text_color",
        "block_title_text_weight": "600",
        "block_label_background_fill": "*background_fill_primary",
        "block_label_text_color": "*body_text_color_subdued",
        "block_label_text_weight": "500",
        "block_label_text_size": "*text_xs",
        "block_label_border_width": "0px",
    }
    dark = {f"{key}_dark": value for key, value in plain.items() if key.endswith(("fill", "color", "subdued"))} | {
        "body_background_fill_dark": "*neutral_950",
        "button_primary_background_fill_dark": "*primary_700",
        "button_primary_background_fill_hover_dark": "*primary_800",
        "checkbox_label_background_fill_selected_dark": "*primary_700",
        "link_text_color_dark": "*primary_400",
        "link_text_color_hover_dark": "*primary_300",
        "link_text_color_active_dark": "*primary_300",
        "link_text_color_visited_dark": "*primary_400",
        "button_secondary_background_fill_hover_dark": "*neutral_700",
        "button_secondary_text_color_hover_dark": "white",
        "button_cancel_background_fill_dark": "*neutral_200",
        "button_cancel_background_fill_hover_dark": "*neutral_100",
        "button_cancel_text_color_dark": "*neutral_900",
        "block_background_fill_dark": "*neutral_900",
        "block_border_color_dark": "*neutral_800",
        "body_text_color_subdued_dark": "*neutral_400",
        "block_info_text_color_dark": "*neutral_400",
        "input_border_color_dark": "*neutral_700",
        "checkbox_border_color_dark": "*neutral_500",
    }
    return gr.themes.Soft(
        primary_hue="orange",
        secondary_hue="orange",
        neutral_hue="stone",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(**plain, **dark)
