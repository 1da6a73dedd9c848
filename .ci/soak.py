"""Long runs stay flat: `python .ci/soak.py` (small, as in CI), or `--steps 2000 --play 20000 --reruns 50 --panels 50 --files 2000 --write FILE.json`.

Training, play, notebook cells that are run again in a real kernel, and a folder of thousands of tiny files. Memory, open files and threads are read
after a fifth of each, when what is kept is there, and from then on to the end. Reads /proc, so it runs on Linux.
"""
import argparse, ctypes, gc, json, os, sys, tempfile, threading, time, warnings
from contextlib import suppress
from pathlib import Path

for lib in ('OMP', 'MKL', 'OPENBLAS'): os.environ.setdefault(f'{lib}_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')
warnings.filterwarnings('ignore')
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import av, numpy as np, torch
from fastai.callback.core import Callback
from pvg.checkpoint import save_model
from pvg.core import gif_bytes
from pvg.data.acquire import acquire
from pvg.data.worlds import record_square
from pvg.model.caddy import Caddy, preset_config
from pvg.play.session import PlaySession, random_action
from pvg.recipe import train
torch.set_num_threads(1)

SMALL = dict(width=32, height=32, features=8, hidden=8)

def trim():
    "Give back to the system what is free, so that what is read is in use"
    with suppress(AttributeError): ctypes.CDLL(None).malloc_trim(0)

def usage(collect=True):
    "Megabytes of memory, open files, and threads of this process"
    if collect: gc.collect(); trim()
    resident = next(int(o.split()[1])/1e3 for o in Path('/proc/self/status').read_text().splitlines() if o.startswith('VmRSS'))
    return resident, len(os.listdir('/proc/self/fd')), threading.active_count()

class Watcher:
    "What was used after a fifth of the work, and the most after that"
    def __init__(self, total): self.total,self.first,self.last,self.most = total,None,None,None

    def look(self, done):
        "Read, some twenty times in all"
        if done!=self.total and (5*done<self.total or done%max(1, self.total//20)): return
        self.last = usage()
        self.first = self.first or self.last
        self.most = tuple(map(max, self.most or self.last, self.last))

    def flat(self, what):
        "Complain unless memory, files and threads stayed; the numbers"
        (early,files,threads),(late,_,_),(_,most_files,most_threads) = self.first,self.last,self.most
        assert late<1.05*early+8, f'{what}: {early:.0f} MB after a fifth, {late:.0f} MB at the end'
        assert most_files<=files+1 and most_threads<=threads, f'{what}: {files} files and {threads} threads after a fifth, then up to {most_files} and {most_threads}'
        return dict(memory=round(early, 1), memory_at_end=round(late, 1), files=files, most_files=most_files, threads=threads)

class Looking(Callback):
    "Looks after every step"
    run_valid = False
    def __init__(self, watcher): self.watcher = watcher
    def after_step(self): self.watcher.look(self.learn.training_schedule.step+1)

def training(folder, n):
    "Training with validations, pictures and checkpoints"
    watcher = Watcher(n)
    model = train(record_square(folder/'square', videos=12), folder/'run'/'latest.safetensors', steps=n, discovery_steps=20, batch_size=2, clip_lengths=(3,5), results=folder/'results',
                  valid_every=max(1, n//8), keep=2, device='cpu', progress=False, cbs=[Looking(watcher)], **SMALL)
    assert model.card['steps']==n
    return dict(steps=n, **watcher.flat('training'))

def playing(folder, n):
    "A game with undo and redo; every frame of it can still be seen"
    torch.manual_seed(0)
    model = Caddy(preset_config('quick', **SMALL)).eval()
    frame = np.random.default_rng(0).integers(256, size=(32,32,3), dtype=np.uint8)
    save_model(model, folder/'model.safetensors', start_frames=frame[None])
    game,watcher = PlaySession(model, frame),Watcher(n)
    for i in range(n):
        game.step(random_action(len(game.names), i))
        if i%7==0: game.undo(); game.redo()
        watcher.look(i+1)
    assert (len(game.actions), (game._reel[0]==frame).all())==(n, True)
    return dict(steps=n, **watcher.flat('playing'))

# ---- the same cell again and again, in a kernel

SETUP = '''
import contextlib, ctypes, gc, os, threading
from pathlib import Path
from pvg.data.clips import clip_dataloaders
from pvg.data.store import VideoStore
from pvg.learner import playable_learner
from pvg.play.panel import PlayPanel
from pvg.play.session import PlaySession
'''
CELL = '''
session = PlaySession('model.safetensors')
session.autoplay(3)
learn = playable_learner(clip_dataloaders(VideoStore('square'), length=3, batch_size=2, steps_per_epoch=1, device='cpu'), 'quick', hidden=8, features=8, discovery_steps=1)
with learn.no_bar(), learn.no_logging(): learn.fit(1)
panel = PlayPanel(session)
panel
'''
PANEL = '''
session = PlaySession('model.safetensors')
session.autoplay(3)
PlayPanel(session)
'''
COUNT = '''
alive = [type(o).__name__ for o in gc.get_objects()]
print(*map(alive.count, ('PlaySession','Learner','Caddy','PlayPanel')))
'''

TIDY = '''
gc.collect()
trimmed = ctypes.CDLL(None).malloc_trim(0)
'''

def ask(client, code, cell):
    "Run code as a notebook's cell does; what it prints"
    said = []
    def hear(message):
        content = message['content']
        if message['msg_type']=='error': raise AssertionError('\n'.join(content['traceback']))
        if message['msg_type']=='stream': said.append(content['text'])
    message = client.session.msg('execute_request', dict(code=code, silent=False, store_history=True, user_expressions={}, allow_stdin=False, stop_on_error=True), metadata=dict(cellId=cell))
    client.shell_channel.send(message)
    while True:
        o = client.get_iopub_msg(timeout=300)
        if o['parent_header'].get('msg_id')!=message['header']['msg_id']: continue
        if o['msg_type']=='status' and o['content']['execution_state']=='idle': return ''.join(said)
        hear(o)

def seen(process):
    "Megabytes of its own, open files, and threads of another process, which does nothing for it"
    status = dict(o.split(':', 1) for o in Path(f'/proc/{process}/status').read_text().splitlines())
    def files(): time.sleep(.1); return len(os.listdir(f'/proc/{process}/fd'))
    return int(status['RssAnon'].split()[0])/1e3, min(files() for _ in range(5)), int(status['Threads']) # the history of a notebook is written a moment later, through a file or two

def run_again(folder, cell, n):
    "Run a cell n times in a real kernel and tidy up: what is seen after a fifth and at the end; and what is alive after four more that nobody tidies up"
    from jupyter_client.manager import start_new_kernel
    manager,client = start_new_kernel(cwd=str(folder), env={**os.environ, 'PYTHONPATH': str(ROOT)}, startup_timeout=300)
    first = max(8, n//5)
    try:
        process = int(ask(client, SETUP+'print(os.getpid())', 'setup').split()[-1])
        for i in range(n+4):
            ask(client, cell, 'game')
            if i<n: ask(client, TIDY, 'tidy')
            if i+1==first: early = seen(process)
            if i+1==n: late = seen(process)
        alive = [int(o) for o in ask(client, COUNT, 'count').split()]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    (memory,files,threads),(memory_then,files_then,threads_then),growth = early,late,(late[0]-early[0])/(n-first)
    assert (files_then, threads_then)==(files, threads) and memory_then<1.05*memory+8, (early, late)
    return growth,alive,dict(runs=n, memory=round(memory, 1), memory_at_end=round(memory_then, 1), kilobytes_a_run=round(1e3*growth), files=files, most_files=files_then, threads=threads, **dict(zip(('sessions','learners','models','panels'), alive)))

def reruns(folder, n):
    "A cell that makes a session, a learner that fits, and a panel: the older learner goes when the next one begins to fit, without anybody who collects"
    growth,alive,found = run_again(folder, CELL, n)
    assert alive[:3]==[1,1,2] and growth<1, found # the session's model and the learner's; MB a run
    return found

def panels(folder, n):
    "A cell that ends in a panel: nothing of an older run stays but its last results, `_`, `__` and `___`, which hold no session"
    growth,alive,found = run_again(folder, PANEL, n)
    assert alive[:3]==[1,0,1] and alive[3]<=4 and growth<.1, found # MB a run
    return found

# ---- thousands of tiny files

def tiny_film(path, frames):
    "A film of a few frames"
    with av.open(str(path), 'w') as film:
        stream = film.add_stream('libx264', rate=10)
        stream.width = stream.height = 16
        for t in range(frames): film.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((16,16,3), 20*t+40, np.uint8), format='rgb24')))
        film.mux(stream.encode(None))
    return path.read_bytes()

def kinds(folder):
    "What the files are, how many frames are used of each, and the reason where none is"
    film,rng = tiny_film(folder/'a.mp4', 3),np.random.default_rng(0)
    moving = gif_bytes(rng.integers(256, size=(4,16,16,3), dtype=np.uint8), fps=10)
    return [('film.mp4', film, 3, ''), ('one.mp4', tiny_film(folder/'b.mp4', 1), 0, 'has no shot of 2 frames'), ('four.gif', moving, 4, ''),
            ('empty.mp4', b'', 0, 'has zero bytes'), ('text.mov', b'Dear Sir or Madam\n', 0, 'is not a video'), ('cut.mp4', film[:len(film)//2], 0, '')]

def tiny_files(folder, made, n):
    "Acquire a folder of so many; seconds of processor time, and the most that was used on the way"
    (folder/f'films-{n}').mkdir()
    for i in range(n): (folder/f'films-{n}'/f'{i:05d}-{made[i%len(made)][0]}').write_bytes(made[i%len(made)][1])
    samples,over = [usage()],threading.Event()
    def sample():
        while not over.wait(.02): samples.append(usage(collect=False))
    sampler = threading.Thread(target=sample); sampler.start()
    begun = time.process_time()
    report = acquire(folder/f'films-{n}', folder/f'store-{n}', 16, 16, 10, workers=0, split=(1,0,0), progress=False)
    took = time.process_time()-begun
    over.set(); sampler.join()
    for i,row in enumerate(report.rows):
        _,_,frames,reason = made[i%len(made)]
        assert row['frames']==frames and reason in row['note'] and (row['videos'] or row['note']), row
    assert len(report.rows)==n
    return took,samples

def many_files(folder, n):
    "Each tiny file is used, or skipped with its reason"
    made = kinds(folder)
    tiny_files(folder, made, 2*len(made)) # so that everything is loaded
    few,_ = tiny_files(folder, made, n//4)
    took,samples = tiny_files(folder, made, n)
    memory,files,_ = zip(*samples)
    assert max(memory)<1.1*memory[0]+16 and max(files)<=files[0]+16, (memory[0], max(memory), files[0], max(files))
    if n>=1000: assert took/n<1.5*few/(n//4), f'{1000*few/(n//4):.1f} ms a file for {n//4}, {1000*took/n:.1f} for {n}'
    used = sum(made[i%len(made)][2]>0 for i in range(n))
    return dict(number=n, used=used, skipped=n-used, memory=round(memory[0], 1), most_memory=round(max(memory), 1), files=files[0], most_files=max(files), milliseconds_a_file=round(1000*took/n, 1), milliseconds_a_file_for_a_quarter=round(1000*few/(n//4), 1))

PARTS = dict(training=(training,'steps',60), playing=(playing,'play',400), reruns=(reruns,'reruns',20), panels=(panels,'panels',20), files=(many_files,'files',60))

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('parts', nargs='*', default=[], help=f'some of {", ".join(PARTS)}; all if none')
    for f,name,n in PARTS.values(): parser.add_argument(f'--{name}', type=int, default=n, help=f.__doc__)
    parser.add_argument('--write', type=Path, help='JSON file whose part `soak` gets the numbers')
    args,begun = parser.parse_args(),time.time()
    for part in args.parts or PARTS:
        f,name,_ = PARTS[part]
        with tempfile.TemporaryDirectory(dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None) as folder:
            if part in ('reruns','panels'): record_square(Path(folder)/'square', videos=12); playing(Path(folder), 5)
            found = f(Path(folder), getattr(args, name))
        print(f'  {part}: {", ".join(f"{k} {v}" for k,v in found.items())} ({time.time()-begun:.0f} s)', flush=True)
        if args.write:
            old = json.loads(args.write.read_text()) if args.write.exists() else {}
            command = f'python .ci/soak.py {part} --{name} {getattr(args, name)}'
            args.write.write_text(json.dumps({**old, 'soak': {**old.get('soak', {}), part: dict(command=command, **found)}}, indent=1)+'\n')

if __name__=='__main__': main()
