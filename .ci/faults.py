"""kill -9 at any moment, and nothing is lost: `python .ci/faults.py`, or `--moments 20 --write FILE.json`.

One process imports everything; each trial is a fork of it that works in a folder of its own. It is killed from outside
after a random time, or kills itself right before one of the calls that make things durable (fsync, rename, link, unlink,
mkdir). Then another fork looks at what is there: whatever has its final name must be whole. A third does the same work
again, which goes on where that is promised; its result must be that of a run that nobody disturbed, to the last bit.
Then: readers beside a writer, a second process on the same run, and media that nobody may write on.
"""
import argparse, csv, hashlib, json, os, random, shutil, signal, sys, tempfile, time, traceback, warnings
from functools import partial
from pathlib import Path

for lib in ('OMP', 'MKL', 'OPENBLAS'): os.environ.setdefault(f'{lib}_NUM_THREADS', '1') # a fork must not meet another thread's locks
os.environ.setdefault('MPLBACKEND', 'Agg')
warnings.filterwarnings('ignore')
import av, numpy as np, torch, yaml, zstandard
from PIL import Image
from matplotlib import pyplot
from pvg import recipe
from pvg.check import check_checkpoint, check_path, check_store, find_checkable
from pvg.checkpoint import load_model, load_training, save_model
from pvg.core import PvgError
from pvg.data.acquire import acquire
from pvg.data.store import VideoStore
from pvg.data.worlds import record_breakout, record_square
from pvg.model.caddy import Caddy, preset_config
from pvg.play.session import PlaySession
from pvg.report import evaluate_run
from pvg.runs import SaveTraining, only_one
torch.set_num_threads(1)

OPERATIONS = 'fsync', 'replace', 'rename', 'link', 'unlink', 'mkdir'
TINY = dict(preset='breakout', width=32, height=32, features=8, hidden=8, perceptual_weight=0, batch_size=2, clip_lengths=(3,3), pretraining_steps=2, device='cpu', progress=False)

# ---- what is killed: `work` does it, or goes on with it; `result` is what it must come to

def digest(*arrays): return hashlib.sha256(b''.join(np.ascontiguousarray(o).tobytes() for o in arrays)).hexdigest()
def content(path):
    store = VideoStore(path)
    return digest(*(store.read(i) for i in range(len(store))))

class Recording:
    "`pvg record`: Breakout, real frames"
    def work(self, folder, given):
        if not (folder/'breakout').exists(): record_breakout(folder/'breakout', frames=700, seed=1)
    def result(self, folder): return VideoStore(folder/'breakout').manifest['seal']

class Writing:
    "a store in many small files replaces an older one: at every moment one of the two is there"
    def begin(self, folder):
        with VideoStore.create(folder/'store', 32, 32, 8) as writer: writer.add(np.zeros((5,32,32,3), np.uint8))
    def work(self, folder, given):
        rng = np.random.default_rng(0)
        with VideoStore.create(folder/'store', 32, 32, 8, overwrite=True, shard_bytes=100_000) as writer:
            for i in range(60): writer.add(rng.integers(256, size=(24,32,32,3), dtype=np.uint8), action=np.arange(24))
    def look(self, folder, given): assert len(VideoStore(folder/'store')) in (1,60)
    def result(self, folder): return VideoStore(folder/'store').manifest['seal']

class Acquisition:
    "`pvg acquire`: three films become a store; what was taken from a film is not taken again"
    def work(self, folder, given):
        if not (folder/'clips').exists(): acquire(given/'films', folder/'clips', 24, 24, 8, workers=0, codec='lossless', progress=False)
    def result(self, folder): return content(folder/'clips')

class Checkpoints:
    "`pvg train`: a checkpoint after every step, copies and a row of the log after every second; training goes on from the last one"
    def work(self, folder, given):
        recipe.SaveTraining = partial(SaveTraining, every=0.)
        path = folder/'run'/'latest.safetensors'
        recipe.train(VideoStore(given/'square'), path, steps=8, valid_every=2, keep=2, resume=path.exists(), results=folder/'results', **TINY)
    def result(self, folder):
        kept = sorted((folder/'run').glob('[!.]*'))
        assert [o.stem for o in kept]==['best','latest','step-00000006','step-00000008'], [o.name for o in kept]
        rows = list(csv.DictReader((folder/'results'/'log.csv').open(newline='')))
        return [[(row['step'], row['valid_loss']) for row in rows], *((o.name, load_training(o)[1]['step'], digest(*(v.numpy() for v in load_model(o).state_dict().values()))) for o in kept)]

class Evaluation:
    "`pvg evaluate`: drawn clips, numbers, pictures and pages"
    def work(self, folder, given): evaluate_run(given/'model.safetensors', VideoStore(given/'square'), folder/'evaluation', metrics=['mse','psnr'], length=6, context=2, batch=2, fetch=False, progress=False, device='cpu')
    def look(self, folder, given):
        for o in folder.rglob('data.yml'): assert 'protocol' in yaml.safe_load(o.read_text()), o
        for o in folder.rglob('report.html'): assert o.read_text().rstrip().endswith('</html>'), o
        for o in folder.rglob('report.md'): assert o.read_text().strip(), o
        for o in folder.rglob('*.png'): Image.open(o).load()
    def result(self, folder):
        run, = (folder/'evaluation').glob('*/data.yml')
        numbers = yaml.safe_load(run.read_text())
        return [content(run.parent/'reconstruction'), {k: v for k,v in numbers.items() if isinstance(v, (int,float))}]

def length(gif):
    "Seconds that a GIF takes"
    image = Image.open(gif)
    return sum((image.seek(i), image.info['duration'])[1] for i in range(image.n_frames))/1000

class Games:
    "games that are kept: GIF, script and state; older ones stay as they are"
    def begin(self, folder): self.work(folder, folder.parent/'given')
    def work(self, folder, given):
        game = PlaySession(given/'model.safetensors')
        game.autoplay(20)
        game.save(folder/'games')
        game.save_state(folder/'state.safetensors')
    def look(self, folder, given):
        assert (folder/'games/play.gif').exists() and (folder/'games/play.json').exists()
        assert all(o.stat().st_size for o in (folder/'games').iterdir() if not o.name.startswith('.')), 'an empty file'
        for o in (o for o in (folder/'games').iterdir() if not o.name.startswith('.')):
            if o.suffix=='.gif': assert abs(length(o)-21/12)<.02 # equal frames are one, shown longer
            else: PlaySession(given/'model.safetensors').replay(o)
        PlaySession.load(given/'model.safetensors', folder/'state.safetensors')
    def result(self, folder):
        game = PlaySession.load(folder.parent/'given'/'model.safetensors', folder/'state.safetensors')
        return digest(*game.frames)

TASKS = dict(recording=Recording(), writing=Writing(), acquisition=Acquisition(), checkpoints=Checkpoints(), evaluation=Evaluation(), games=Games())

def prepare(folder):
    "What the tasks begin with"
    folder.mkdir()
    store = record_square(folder/'square', videos=8, frames=12)
    torch.manual_seed(0)
    save_model(Caddy(preset_config('quick', width=32, height=32, features=8, hidden=8)), folder/'model.safetensors', start_frames=store.read(0)[:2])
    (folder/'films').mkdir()
    for i in range(3):
        with av.open(str(folder/f'films/{i}.mp4'), 'w') as film:
            stream = film.add_stream('libx264', rate=8)
            stream.width = stream.height = 32
            for frame in np.concatenate([store.read(j) for j in range(i, i+5)]): film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
            film.mux(stream.encode(None))

# ---- forks

def fork(f, *args):
    "Run a function in a fork: its process, and a pipe on which it will say what came of it"
    reading,writing = os.pipe()
    pid = os.fork()
    if pid: os.close(writing); return pid,reading
    try:
        with open(os.devnull, 'w') as nowhere: os.dup2(nowhere.fileno(), 1); os.dup2(nowhere.fileno(), 2)
        try: answer = dict(result=f(*args))
        except BaseException: answer = dict(failed=traceback.format_exc())
        os.write(writing, json.dumps(answer).encode())
    finally: os._exit(0)

def wait(pid, reading):
    "What a fork said; `None` if it was killed"
    data = b''
    while block := os.read(reading, 1<<16): data += block
    os.close(reading)
    os.waitpid(pid, 0)
    if not data: return None
    answer = json.loads(data)
    if 'failed' in answer: raise AssertionError(answer['failed'])
    return answer['result']

def call(f, *args): return wait(*fork(f, *args))

def counted(at, f, *args):
    "Run `f`; the process is killed right before the durable operation number `at`. The number of operations there were"
    done = 0
    def wrap(inner):
        def outer(*args, **kwargs):
            nonlocal done
            if done==at: os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return inner(*args, **kwargs)
        return outer
    for name in OPERATIONS: setattr(os, name, wrap(getattr(os, name)))
    f(*args)
    return done

# ---- one trial

def start(task, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if hasattr(task, 'begin'): call(task.begin, folder)

def after_kill(task, folder, given):
    "Everything with its final name is whole; says what there was"
    found,left = find_checkable(folder)
    wrong = [str(o) for o in (check_store(p) if p.is_dir() else check_checkpoint(p) for p in found if p.name!='state.safetensors') if not o.whole]
    assert not wrong, wrong
    if hasattr(task, 'look'): task.look(folder, given)
    return dict(whole=len(found), unfinished=len(left))

def goes_on(task, folder, given):
    "The same work once more, and what it comes to; nothing unfinished is left then"
    task.work(folder, given)
    left = [str(o.relative_to(folder)) for o in find_checkable(folder)[1]]
    return task.result(folder), left

def trial(name, folder, given, kill, expected):
    "Kill, look, go on, compare; `None` if the work was done before the kill came"
    task = TASKS[name]
    start(task, folder)
    if not kill(task): return None
    seen = call(after_kill, task, folder, given)
    result,left = call(goes_on, task, folder, given)
    assert result==expected, f'{name}: after a kill the result is another one: {result} instead of {expected}'
    return dict(seen, left=left)

def faults(name, folder, given, moments, rng):
    "All trials of one task"
    task,tmp = TASKS[name],folder/name
    start(task, tmp)
    begun = time.perf_counter()
    operations = call(counted, -1, task.work, tmp, given)
    took,expected = time.perf_counter()-begun,call(task.result, tmp)
    def after(seconds):
        def kill(task):
            pid,pipe = fork(task.work, tmp, given)
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
            return wait(pid, pipe) is None
        return kill
    def before(at): return lambda task: call(counted, at, task.work, tmp, given) is None
    out = dict(task=type(task).__doc__, command=f'python .ci/faults.py --moments {moments} --tasks {name}', random=0, before_operations=0, operations=operations, whole=0, unfinished=0, left=0)
    for i in range(moments*10):
        if out['random']==moments: break
        seen = trial(name, tmp, given, after(rng.random()*took), expected)
        if seen: out['random'] += 1; add(out, seen)
    else: raise AssertionError(f'{name} is too quick to be killed {moments} times')
    for at in sorted({int(o) for o in np.linspace(0, operations-1, min(operations, moments))}):
        seen = trial(name, tmp, given, before(at), expected)
        assert seen, f'{name} was not killed before operation {at}'
        out['before_operations'] += 1
        add(out, seen)
    return out

def add(out, seen):
    for k in ('whole','unfinished'): out[k] += seen[k]
    out['left'] += len(seen['left'])
    assert not seen['left'], seen['left']

# ---- beside each other

def read_on(path, until):
    "Open and read until a time; videos that are of two stores are a failure"
    reads = told = 0
    while time.time()<until:
        try:
            store = VideoStore(path)
            shades = {int(o) for i in range(len(store)) for v in [store.read(i)] for o in (v.min(), v.max())}
            store.close()
            assert len(shades)==1, 'a mixture'
            reads += 1
        except PvgError as e:
            assert any(o in str(e) for o in ('was replaced','is missing')), str(e)
            told += 1
    return reads,told

def write_on(path):
    for shade in range(1, 10**6):
        with VideoStore.create(path, 32, 32, 8, overwrite=True, shard_bytes=1) as writer:
            for _ in range(5): writer.add(np.full((16,32,32,3), shade%256, np.uint8))

def readers(folder, seconds):
    "Three readers beside a writer that is killed at the end"
    path = folder/'busy'
    with VideoStore.create(path, 32, 32, 8) as writer: writer.add(np.zeros((4,32,32,3), np.uint8))
    writer,others = fork(write_on, path),[fork(read_on, path, time.time()+seconds) for _ in range(3)]
    answers = [wait(*o) for o in others]
    os.kill(writer[0], signal.SIGKILL); wait(*writer)
    assert check_store(path).whole
    return dict(readers=3, reads=sum(o[0] for o in answers), told_that_it_was_replaced=sum(o[1] for o in answers), mixtures=0)

def hold(path, seconds):
    with only_one(path): time.sleep(seconds)

def second(folder, given):
    "A second process that trains the same run is told so in one line; when the first is killed it may"
    path = folder/'second'/'latest.safetensors'
    pid,pipe = fork(hold, path, 60)
    while not path.parent.exists() or not list(path.parent.glob('.*lock')): time.sleep(.05)
    time.sleep(.1)
    def train(): recipe.train(VideoStore(given/'square'), path, steps=1, **TINY)
    def refused():
        try: train()
        except PvgError as e: return str(e)
    said = call(refused)
    assert said and 'another process' in said and '\n' not in said, said
    os.kill(pid, signal.SIGKILL); wait(pid, pipe)
    call(train)
    return dict(refused=1, then_trained=1)

def read_only(given):
    "Read and write as somebody who may only read; what cannot be written is said in one line"
    if os.geteuid()==0: os.setgroups([]); os.setgid(65534); os.setuid(65534)
    store,read,refused = VideoStore(given/'square'),0,0
    assert not os.access(given, os.W_OK), 'the folder can be written on'
    assert all(o.whole for o in check_path(given))
    for action in (lambda: store.read(0), lambda: store.column('action'), store.check, lambda: PlaySession(given/'model.safetensors').autoplay(3), lambda: load_model(given/'model.safetensors')): action(); read += 1
    game = PlaySession(given/'model.safetensors')
    for action in (lambda: record_square(given/'new'), lambda: record_square(given/'square', overwrite=True), lambda: save_model(game.model, given/'model.safetensors'), lambda: game.save(given/'games'), lambda: game.save_state(given/'state.safetensors'),
                   lambda: recipe.train(store, given/'run'/'latest.safetensors', steps=1, **TINY), lambda: recipe.train(store, given/'new.safetensors', steps=1, **TINY),
                   lambda: acquire(given/'films', given/'clips', 24, 24, 8, workers=0, progress=False), lambda: evaluate_run(given/'model.safetensors', store, given/'evaluation', metrics=['mse'], length=6, context=2, fetch=False, progress=False, device='cpu')):
        try: action()
        except PvgError as e: assert '\n' not in str(e), str(e); refused += 1
        else: raise AssertionError('it was written')
    return dict(reads=read, refused_in_one_line=refused, how='folder without write permission, as a user who is not root')

def media(folder, given):
    copy = folder/'media'
    shutil.copytree(given, copy)
    for o in [copy, *copy.rglob('*')]: o.chmod(0o555 if o.is_dir() else 0o444)
    for o in [folder]: o.chmod(0o755)
    try: return call(read_only, copy)
    finally:
        for o in [copy, *copy.rglob('*')]: o.chmod(0o755)

def keep(path, part):
    "Put some counts into the file"
    if path is None: return
    old = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**old, 'faults': {**old.get('faults', {}), **part}}, indent=1)+'\n')

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--moments', type=int, default=2, help='kills of each kind, random and before operations, for each task')
    parser.add_argument('--tasks', nargs='*', default=list(TASKS), choices=list(TASKS))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--write', type=Path, help='JSON file whose part `faults` gets the counts of these tasks')
    args = parser.parse_args()
    rng,out,begun = random.Random(args.seed),{},time.time()
    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None # what a kill leaves does not depend on the disk; how long a trial takes does
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        folder = Path(folder).resolve()
        call(prepare, folder/'given')
        out['readers'] = readers(folder, 1+args.moments/10)
        out['second process'] = second(folder, folder/'given')
        out['read-only'] = media(folder, folder/'given')
        keep(args.write, out)
        for name in ('readers','second process','read-only'): print(f'  {name}: {out[name]}', flush=True)
        for name in args.tasks:
            out[name] = faults(name, folder, folder/'given', args.moments, rng)
            o = out[name]
            keep(args.write, out)
            print(f'  {name}: {o["random"]} kills at random moments, {o["before_operations"]} before one of {o["operations"]} durable operations; nothing half-written, same result ({time.time()-begun:.0f} s)', flush=True)

if __name__=='__main__': main()
