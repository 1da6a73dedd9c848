"""Pictures of README and site, drawn by the model in the package: `python .ci/pictures.py` after it changed.

Writes nbs/images/breakout.gif (one frame, three futures) and nbs/images/card.png (what is shown where the site is shared).
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT/'nbs/images'
KEYS = dict(left='hold left', still='stay', right='hold right')
INK,PAPER = (40, 40, 40),(255, 255, 255)

HELD = 5 # steps that a key is down

def middle(starts):
    "The start whose paddle is nearest to the middle, so that every key has room"
    from pvg.data.worlds import find_paddle
    now = np.stack([o[-1] if o.ndim==4 else o for o in starts])
    return int(np.abs(np.asarray(find_paddle(now))-now.shape[2]/2+8).argmin())

def futures(steps=12):
    "Three games from one frame: each key held, then released; name -> uint8 (steps+1, h, w, 3)"
    from pvg.play.session import PlaySession
    games,model = {},PlaySession('shipped').model
    for name in KEYS:
        game = PlaySession(model, model.start_frames[middle(model.start_frames)])
        if name not in game.names: sys.exit(f'the model in the package has the actions {", ".join(game.names)}, not {", ".join(KEYS)}')
        act = lambda t: game.names.index(name if t<HELD else 'still')
        games[name] = game.play([act(t) for t in range(steps)])
    return games

def labelled(games, t, gap=12, bar=26):
    "One page of the moving picture: the games side by side, under each the key that is down"
    font = ImageFont.load_default(size=15)
    height,width = next(iter(games.values())).shape[1:3]
    page = Image.new('RGB', (len(games)*(width+gap)-gap, height+bar), PAPER)
    draw = ImageDraw.Draw(page)
    for i,(name,frames) in enumerate(games.items()):
        left = i*(width+gap)
        page.paste(Image.fromarray(frames[t]), (left, 0))
        down = name if t<=HELD else 'still'
        draw.text((left+width//2, height+bar//2+1), KEYS[down], fill=INK, font=font, anchor='mm')
    return np.asarray(page)

def moving_picture(games, path):
    "The games as a GIF"
    from pvg.core import save_gif
    length = len(next(iter(games.values())))
    pages = np.stack([labelled(games, t) for t in range(length)])
    return save_gif(path, np.concatenate([np.repeat(pages[:1], 4, axis=0), pages]), fps=10)

def card(games, path, size=(1200, 630)):
    "A still picture of a shared link: the last held frames, large"
    page = Image.fromarray(labelled(games, HELD))
    scale = min((size[0]-80)/page.width, (size[1]-80)/page.height)
    page = page.resize((round(page.width*scale), round(page.height*scale)), Image.Resampling.LANCZOS)
    out = Image.new('RGB', size, PAPER)
    out.paste(page, ((size[0]-page.width)//2, (size[1]-page.height)//2))
    out.quantize(64).save(path, optimize=True)
    return path

if __name__=='__main__':
    games = futures()
    for path in (moving_picture(games, IMAGES/'breakout.gif'), card(games, IMAGES/'card.png')): print(f'{path.relative_to(ROOT)}: {path.stat().st_size/1000:.0f} kB')
