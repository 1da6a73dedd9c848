"""README.md as a code host shows it, in a real browser: what a newcomer sees without scrolling. Run by browser.py."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH,HEIGHT,ABOVE = 1280,800,190                                      # a window, and what a code host puts above a file: its bar, the path, the tabs
STYLE = '''body { margin: 0; font: 16px/1.5 "Liberation Sans", Arial, sans-serif; } main { max-width: 948px; margin: %dpx auto 0; padding: 32px; } h1 { font-size: 2em; padding-bottom: .3em; }
img { max-width: 100%%; } pre { padding: 16px; background: #f6f8fa; font-size: 85%%; overflow: auto; } table { border-collapse: collapse; display: block; overflow: auto; }
td,th { border: 1px solid #d1d9e0; padding: 6px 13px; } blockquote { margin: 0; padding: 0 1em; border-left: .25em solid #d1d9e0; }''' % ABOVE

def rendered(folder):
    "README.md as a page beside its pictures; badges, which come from elsewhere, are left out"
    from mistune import create_markdown
    text = re.sub(r'!\[[^\]]*\]\(https?:[^)]*\)', '', (ROOT/'README.md').read_text(encoding='utf-8'))
    page = folder/'readme.html'
    page.write_text(f'<!doctype html><meta charset="utf-8"><base href="{ROOT.as_uri()}/"><style>{STYLE}</style><main>{create_markdown(escape=False, plugins=["table"])(text)}</main>', encoding='utf-8')
    return page

def box(page, selector):
    "Top and bottom of the first element of a kind, pixels of the window"
    found = page.locator(selector).first.bounding_box()
    return found['y'],found['y']+found['height']

def picture_without_scrolling(page):
    top,bottom = box(page, 'main img')
    assert page.evaluate('document.querySelector("main img").naturalWidth')>=400, 'the first picture of README.md is small or missing'
    assert ABOVE<top and bottom<=HEIGHT, f'the first picture of README.md lies between {top:.0f} and {bottom:.0f} px of {HEIGHT}'
    return f'from {top:.0f} to {bottom:.0f} px of {HEIGHT}'

def picture_moves(page):
    from PIL import Image
    source = ROOT/page.evaluate('document.querySelector("main img").getAttribute("src")')
    with Image.open(source) as o:
        frames = [o.seek(i) or o.convert('RGB').tobytes() for i in range(o.n_frames)]
    assert len(set(frames))>5, f'{source.name} does not move'

def commands_next(page):
    _,bottom = box(page, 'main pre')
    assert 'pip install' in page.locator('main pre').first.inner_text() and bottom<=HEIGHT+ABOVE, f'the commands end at {bottom:.0f} px'
    return f'they end at {bottom:.0f} px'

def run(check, browser, folder, options):
    "What README.md shows first"
    page = browser.new_page(viewport=dict(width=WIDTH, height=HEIGHT))
    page.goto(rendered(folder).as_uri())
    page.wait_for_load_state('load')
    if options.shots: page.screenshot(path=str(options.shots/'readme.png'))
    for f in (picture_without_scrolling, picture_moves, commands_next): check(f, page)
    page.close()
