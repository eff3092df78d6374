"""The frame of every page: one file, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from rootspace.report._text import escape

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)


def document(
    *,
    title: str,
    kicker: str,
    summary: str,
    sections: Mapping[str, tuple[str, str]],
    scripts: Sequence[str] = (),
) -> str:
    """A self-contained HTML page with a line of links to its sections.

    Args:
        title: of the page, as text.
        kicker: the line above it, as text.
        summary: the paragraph below it, as HTML.
        sections: id -> (title as text, content as HTML).
        scripts: JavaScript to run at the end.
    """
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title">'
        f'<h2 id="{key}-title">{escape(heading)}</h2>{content}</section>'
        for key, (heading, content) in sections.items()
    )
    links = "".join(
        f'<a href="#{key}">{escape(heading)}</a>' for key, (heading, _) in sections.items()
    )
    style = resources.files("rootspace.report").joinpath("page.css").read_text("utf-8")
    code = "\n".join(f"<script>{script}</script>" for script in scripts)
    absent = '<noscript><p class="note">The figures need JavaScript.</p></noscript>\n'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} – rootspace</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kicker">{escape(kicker)}</p>
<h1><bdi>{escape(title)}</bdi></h1>
<p class="summary">{summary}</p>
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{body}
</main>
{absent if scripts else ""}<footer>This file is complete in itself: it opens offline and fetches \
nothing.</footer>
{code}
</body>
</html>
"""
