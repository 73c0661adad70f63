"""A page measured in headless Chromium, at two widths, as it is: the page itself holds no script, so a frame around it does the measuring."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))), None)
WIDTHS = {"wide": 1200, "narrow": 420}

_MEASURE = """
const sides = r => ({left: r.left, right: r.right, top: r.top, bottom: r.bottom, width: r.width, height: r.height});
const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
function backdrop(w, e) {
  const before = e.previousElementSibling;
  if (e.classList.contains('inside') && before) {
    const style = w.getComputedStyle(before), panel = w.getComputedStyle(e.closest('.panel')).backgroundColor;
    return {over: style.fill, opacity: Number(style.opacity), under: panel};
  }
  for (let at = e; at; at = at.parentElement) {
    const colour = w.getComputedStyle(at).backgroundColor;
    if (colour !== 'rgba(0, 0, 0, 0)' && colour !== 'transparent') return {over: colour, opacity: 1, under: colour};
  }
  return null;
}
function measure(w) {
  const d = w.document;
  d.querySelectorAll('details').forEach(x => { x.open = true; });
  const plots = [...d.querySelectorAll('svg')].filter(svg => svg.checkVisibility()).map(svg => ({
    title: svg.querySelector('title').textContent, box: sides(svg.getBoundingClientRect()),
    texts: [...svg.querySelectorAll('text')].map(t => ({words: t.textContent, ...sides(t.getBoundingClientRect())})),
  }));
  const clipped = [...d.querySelectorAll('h1, h2, h3, p, dd, dt, li, .card, .case, .panel, .pill, .big, article header')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth && w.getComputedStyle(e).display !== 'inline').map(e => e.outerHTML.slice(0, 200));
  const seen = new Map();
  for (const e of d.body.querySelectorAll('*')) {
    if (!own(e) || ['TITLE', 'DESC', 'STYLE'].includes(e.tagName.toUpperCase())) continue;
    const style = w.getComputedStyle(e), ink = e.namespaceURI.endsWith('svg') ? style.fill : style.color, ground = backdrop(w, e);
    seen.set(JSON.stringify([ink, ground]), {ink, ground, at: `${e.tagName} ${e.getAttribute('class')} ${e.textContent.slice(0, 40)}`});
  }
  return {width: w.innerWidth, needed: d.documentElement.scrollWidth, dark: w.matchMedia('(prefers-color-scheme: dark)').matches,
          background: w.getComputedStyle(d.body).backgroundColor, right_to_left: [...d.querySelectorAll('dd[dir=rtl]')].length, plots, clipped, inks: [...seen.values()]};
}
addEventListener('load', () => {
  const out = Object.fromEntries([...document.querySelectorAll('iframe')].map(f => [f.id, measure(f.contentWindow)]));
  const found = document.createElement('pre');
  found.textContent = JSON.stringify(out);
  document.body.replaceChildren(found);
});
"""


def measure(page: Path, folder: Path, *, dark: bool) -> dict[str, Any]:
    """What the browser laid out, by width: sizes in CSS pixels, colours as `rgb(…)`."""
    assert CHROMIUM is not None
    source = html.escape(page.read_text(encoding="utf-8"), quote=True)
    frames = "".join(
        f'<iframe id="{name}" style="width:{width}px;height:900px;border:0" srcdoc="{source}"></iframe>' for name, width in WIDTHS.items()
    )
    frame = folder / f"frame_{'dark' if dark else 'light'}.html"
    frame.write_text(f'<!DOCTYPE html><html style="color-scheme: light dark"><meta charset="utf-8"><body>{frames}<script>{_MEASURE}</script></body></html>', encoding="utf-8")  # fmt: skip
    command = [
        CHROMIUM, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-extensions",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []), "--window-size=1300,1900", "--dump-dom", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    found = re.search(r"<pre>(.*?)</pre>", done.stdout.decode("utf-8"), re.DOTALL)
    assert found, done.stderr.decode("utf-8", "replace")[-2000:]
    return json.loads(html.unescape(found[1]))
