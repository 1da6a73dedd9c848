"""A film to try one's own video with, where no phone is at hand: `python .ci/toy_film.py my-films/car.mp4`, some minutes.

A minute of 1280x720 in H.264, 30 pictures a second: a toy car on a wooden table is pushed left, pushed right, or let stand, in a light that wanders, with a
sensor's noise and a camera that shakes by a pixel. The picture in nbs/tutorials/own_video.ipynb was made of it.
"""
import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH,HEIGHT,FPS,SECONDS = 1280,720,30,60

def table(rng):
    "Wood: noise, drawn out along the grain"
    grain = np.stack([np.convolve(o, np.ones(60)/60, 'same') for o in rng.normal(0, 1, (HEIGHT,WIDTH))])
    wood = np.array([150,105,65])+(grain/grain.std())[...,None]*np.array([16,12,9])
    return Image.fromarray(np.clip(wood, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.2))

def car(picture, x, y):
    "Its shadow, body, cabin and wheels, the middle at (x, y)"
    draw = ImageDraw.Draw(picture)
    draw.ellipse([x-85, y+30, x+85, y+62], fill=(70,48,30))
    draw.rounded_rectangle([x-80, y-25, x+80, y+35], 18, fill=(190,30,35))
    draw.rounded_rectangle([x-45, y-62, x+40, y-18], 14, fill=(205,215,225))
    for wheel in (-48, 48): draw.ellipse([x+wheel-20, y+18, x+wheel+20, y+58], fill=(20,20,22))
    return np.asarray(picture).astype(np.float32)

def pictures(rng):
    "One after the other, uint8 (HEIGHT, WIDTH, 3)"
    wood,x,speed,way,left = table(rng),WIDTH/2,0.,0,0
    for t in range(FPS*SECONDS):
        if left<=0: way,left = rng.choice([-1,0,1]),rng.integers(12, 40) # pushed so for a while
        left -= 1
        way = 1 if x<170 else -1 if x>WIDTH-170 else way
        speed += (way*9-speed)*.35
        x += speed
        seen = car(wood.copy(), x, HEIGHT*.55)*(1+.04*np.sin(t/190))+rng.normal(0, 6, (HEIGHT,WIDTH,1)).astype(np.float32)
        shake = np.round(rng.normal(0, .6, 2)).astype(int)[::-1]
        yield np.clip(np.roll(seen, shake, (0,1)), 0, 255).astype(np.uint8)

def main(path):
    "Write the film"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, 'w') as film:
        stream = film.add_stream('libx264', rate=FPS)
        stream.width,stream.height,stream.pix_fmt,stream.options = WIDTH,HEIGHT,'yuv420p',dict(crf='23', preset='veryfast')
        for o in pictures(np.random.default_rng(5)): film.mux(stream.encode(av.VideoFrame.from_ndarray(o, format='rgb24')))
        film.mux(stream.encode())

if __name__=='__main__': sys.exit(main(sys.argv[1]) if len(sys.argv)==2 else __doc__)
