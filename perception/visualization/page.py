"""What the HTML reports share: the page around their sections, tables, pictures inside the file."""

import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from perception.visualization.report_style import STYLE

PICTURE_WIDTH_PX = 1400


def write_page(path: str | Path, title: str, sections: Sequence[str]) -> Path:
    """Write a self-contained page, whole or not at all; returns its path."""
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{''.join(sections)}</main></body></html>\n"
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)
    return path


def section(title: str, body: str) -> str:
    """A section with its heading; nothing where there is nothing to say."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def note(text: str) -> str:
    """A small line of explanation."""
    return f"<p class=note>{escape(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table that scrolls sideways on a narrow screen; cells are HTML, the first of a row is its heading.

    A cell that begins with "<td" is taken as it is.
    """
    top = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    body = "".join(
        f"<tr><th scope=row>{row[0]}</th>{''.join(c if c.startswith('<td') else f'<td>{c}</td>' for c in row[1:])}</tr>"
        for row in rows
    )
    thead = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f'<div class=scroll><table class="{kind}">{thead}<tbody>{body}</tbody></table></div>'


def heat_cell(text: str, share: float | None, series: int = 0) -> str:
    """A cell of a table, tinted by `share` in 0..1 in the colour of a series; no tint for None."""
    if share is None:
        return f"<td class=empty>{escape(text)}</td>"
    return f'<td class="heat h{series}" style="--v:{min(max(share, 0.0), 1.0):.2f}">{escape(text)}</td>'


def picture(image: np.ndarray, name: str) -> str:
    """A <figure> with an RGB picture [H,W,3] uint8 inside the page, as JPEG of at most PICTURE_WIDTH_PX columns."""
    if image.shape[1] > PICTURE_WIDTH_PX:
        height = round(image.shape[0] * PICTURE_WIDTH_PX / image.shape[1])
        image = cv2.resize(image, (PICTURE_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    source = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
    shown = escape(name, quote=True)
    image_tag = f'<img loading=lazy src="{source}" alt="frame {shown}">'
    return f"<figure class=frame>{image_tag}<figcaption>{shown}</figcaption></figure>"
