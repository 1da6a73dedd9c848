"""The whole path in a minute, with what a user has installed: record, load, train a few steps, play a few steps.

It runs in an empty folder, in an environment without nbdev, on the newest releases of everything pvg needs.
"""
import importlib.util, tempfile, time
from pathlib import Path

def say(what, start): print(f'  {what}: {time.perf_counter()-start:.1f} s', flush=True)

def record(folder):
    "A world of a few short videos"
    from pvg.data.worlds import record_square
    store = record_square(folder/'square', videos=12, frames=32, size=32, seed=0)
    assert (store.width, store.height, len(store)) == (32, 32, 12), 'the store is not what was recorded'
    return store

def load(store):
    "DataLoaders, and one batch of them looked at"
    from pvg.data.clips import clip_dataloaders
    dls = clip_dataloaders(store, length=6, batch_size=4, steps_per_epoch=3, valid_batches=1, seed=0)
    frames, = dls.one_batch()
    assert tuple(frames.shape) == (4, 6, 3, 32, 32), f'a batch has shape {tuple(frames.shape)}'
    assert -1 <= frames.min() and frames.max() <= 1, 'frames leave [-1, 1]'
    return dls

def train(dls):
    "An epoch of three steps"
    from pvg.learner import playable_learner
    learn = playable_learner(dls, preset='quick', width=32, height=32, n_actions=3)
    before = [p.detach().clone() for p in learn.model.parameters()]
    learn.fit(1)
    assert any((a.to(b.device)!=b).any() for a,b in zip(before, learn.model.parameters())), 'training changed no weight'
    return learn

def play(learn, store):
    "Every action once, from a real first frame"
    from pvg.play.session import PlaySession
    first = store.read(0, 0, 1)[0]
    session = PlaySession(learn.model, first)
    for action in range(3):
        frame = session.step(action)
        assert frame.shape == first.shape, f'a played frame has shape {frame.shape}'

def play_shipped():
    "The model in the package, without anything else"
    from pvg.play.session import PlaySession
    session = PlaySession('shipped')
    frames = session.play([0,1,2])
    assert (frames[1:]!=frames[:-1]).any(), 'the model in the package draws no change'

def main():
    "Run the path, one line per stage"
    for name in ('nbdev', 'execnb'): assert importlib.util.find_spec(name) is None, f'{name} is installed: this must run without it'
    import torch
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter(); store = record(Path(folder)); say('record', start)
        start = time.perf_counter(); dls = load(store); say('load', start)
        start = time.perf_counter(); learn = train(dls); say('train', start)
        start = time.perf_counter(); play(learn, store); say('play', start)
        start = time.perf_counter(); play_shipped(); say('play what comes along', start)

if __name__=='__main__': main()
