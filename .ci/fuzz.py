"""Any input, and the same laws: `python .ci/fuzz.py` (some seconds a property), or `--minutes 5 --seed 7` for new examples.

Without `--minutes` the examples are derived from the properties alone, so that every run tries the same ones. With it, each property takes its share of the
time, with new examples from a seed that is printed where one fails: the same seed tries them again.
"""
import argparse, functools, json, math, os, pickle, shutil, sys, tempfile, time, traceback, warnings
from pathlib import Path
from types import SimpleNamespace

for lib in ('OMP', 'MKL', 'OPENBLAS'): os.environ.setdefault(f'{lib}_NUM_THREADS', '1')
warnings.filterwarnings('ignore')
import numpy as np, torch, yaml
from hypothesis import HealthCheck, given, seed, settings, strategies as st
from pvg.callbacks import LearningRateSteps, TrainingSchedule, flat_schedule, linear
from pvg.check import check_checkpoint, check_store
from pvg.checkpoint import load_model, load_training, save_model
from pvg.core import PvgError
from pvg.data.clips import ClipSampler
from pvg.data.published import read_pickle
from pvg.data.store import StoreError, VideoStore, _seal
from pvg.export.serve import page_files
from pvg.export.web import game_files
from pvg.model.caddy import Caddy, preset_config
from pvg.play.session import PlaySession
from pvg.published_config import PublishedConfig, published_preset, read_config

FOLDER = Path(tempfile.mkdtemp(dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None))
TRIED = {} # inputs by property
PROPERTIES = {} # name -> (function, examples)

def prop(examples, *values):
    "A property: how many examples it tries by itself, and what they are made of"
    def add(f):
        @functools.wraps(f)
        def counted(*args, **kwargs):
            TRIED[f.__name__] = TRIED.get(f.__name__, 0)+1
            return f(*args, **kwargs)
        PROPERTIES[f.__name__] = counted,values,examples
        return f
    return add

def fresh():
    "A path where nothing is"
    shutil.rmtree(FOLDER/'x', ignore_errors=True)
    return FOLDER/'x'

json_values = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False) | st.text(max_size=12),
                           lambda o: st.lists(o, max_size=4) | st.dictionaries(st.text(max_size=8), o, max_size=4), max_leaves=8)
small = st.integers(1, 12)

# ---- stores and clips

columns = st.sampled_from(['bool','int8','int64','uint16','float32','float64'])

@st.composite
def stores(draw):
    "What a store is made of"
    height,width = draw(st.integers(1, 5)),draw(st.integers(1, 5))
    videos = draw(st.lists(st.tuples(st.integers(1, 20), st.text(max_size=10), st.sampled_from(['train','val','test','öö']), json_values), min_size=1, max_size=4, unique_by=lambda o: o[1]))
    return dict(height=height, width=width, videos=videos, chunk=draw(st.integers(1, 9)), shard=draw(st.integers(1, 400)), kind=draw(columns), seed=draw(st.integers(0, 999)), metadata=draw(st.dictionaries(st.text(max_size=5), json_values, max_size=3)))

def write(what, path):
    "Write such a store; its frames and values"
    rng,frames,values = np.random.default_rng(what['seed']),[],[]
    with VideoStore.create(path, what['width'], what['height'], 8, metadata=what['metadata'], chunk_frames=what['chunk'], shard_bytes=what['shard']) as writer:
        for n,name,split,metadata in what['videos']:
            frames.append(rng.integers(256, size=(n,what['height'],what['width'],3), dtype=np.uint8))
            values.append(rng.integers(2, size=(n,2)).astype(what['kind']))
            writer.add(frames[-1] if n%2 else iter(frames[-1]), split=split, name=name, metadata=dict(o=metadata), value=values[-1])
    return frames,values

@prop(180, stores(), st.data())
def store_round_trip(what, data):
    "What goes into a store comes out, every slice of it, from a copy too"
    path = fresh()
    frames,values = write(what, path)
    store = VideoStore(path)
    assert store.metadata==what['metadata'] and [(o.frames,o.name,o.split,o.metadata['o']) for o in store.videos]==what['videos']
    for i,o in enumerate(frames):
        start = data.draw(st.integers(0, len(o)-1))
        stop,step = data.draw(st.integers(start+1, len(o))),data.draw(st.integers(1, 4))
        assert (store.read(i, start, stop, step)==o[start:stop:step]).all()
        assert (store.column('value', i)==values[i]).all() and store.column('value').dtype==values[i].dtype
    with VideoStore.create(FOLDER/'x'/'copy', what['width'], what['height'], 8, chunk_frames=what['chunk']) as writer:
        for i in range(len(store)): writer.copy(store, i)
    copied = VideoStore(FOLDER/'x'/'copy')
    assert all((copied.read(i)==o).all() for i,o in enumerate(frames))

@prop(180, stores(), st.data())
def damage_is_named(what, data):
    "One changed byte anywhere in a store: the check names that file and no other, and no reader gets a wrong frame"
    path = fresh()
    frames,_ = write(what, path)
    name = data.draw(st.sampled_from(sorted(o.relative_to(path).as_posix() for o in path.rglob('*') if o.is_file())))
    content = bytearray((path/name).read_bytes())
    content[data.draw(st.integers(0, len(content)-1))] ^= data.draw(st.integers(1, 255))
    (path/name).write_bytes(content)
    found = check_store(path)
    assert found.whole or len(found.problems)==1 and name in found.problems[0], (name, found.problems)
    assert not found.whole or name=='manifest.json' # a space in it that is now another space
    try:
        store = VideoStore(path)
        for i,o in enumerate(frames):
            try: assert (store.read(i)==o).all()
            except StoreError: assert name.startswith('shards')
    except StoreError: pass

@prop(300, st.lists(st.tuples(st.integers(1, 15), st.lists(st.integers(0, 14), max_size=3)), min_size=1, max_size=4), small, st.integers(0, 3), st.integers(1, 3))
def clips_keep_inside(videos, length, skip, stacking):
    "Clips are all the places where one fits, in order, each once, none across an episode's end; and they show what is there"
    known = [(n, [e for e in ends if e<n]) for n,ends in videos]
    class World: # A store's face, without a disk
        path,columns = Path('world'),['done','at']
        def __init__(self): self.videos = [SimpleNamespace(frames=n, name=str(i)) for i,(n,_) in enumerate(known)]
        def indices(self, split): return list(range(len(known)))
        def column(self, name, i):
            n,ends = known[i]
            return np.isin(np.arange(n), ends) if name=='done' else np.arange(n)
        def read(self, i, start, stop, step=1): return np.stack([np.full((1,1,3), 16*i+t, np.uint8) for t in range(start, stop, step)])
    world,span = World(),length+(length-1)*skip
    fits = [(v,t) for v,(n,ends) in enumerate(known) for t in range(n-span+1) if not any(t<=e<t+span-1 for e in ends)]
    try: sampler = ClipSampler(world, 'train', length, skip, stacking)
    except PvgError: assert not fits; return
    assert [sampler.where(i) for i in range(len(sampler))]==fits
    for i,(v,t) in enumerate(fits):
        times = np.arange(t, t+span, skip+1)
        clip = sampler[i]
        assert clip.shape==(length,1,1,3*stacking) and (sampler.labels(i, 'at')==times).all()
        for age in range(stacking): assert (clip[:,0,0,3*age]==16*v+times[np.maximum(np.arange(length)-age, 0)]).all()

# ---- schedules

numbers = st.floats(-100, 100)

@prop(600, st.tuples(numbers, numbers), st.floats(-2, 3), st.floats(0, 1), st.integers(0, 10**6), st.one_of(st.integers(0, 10**6), st.floats(0, 1)))
def schedules_stay_between(ends, share, more, step, steps):
    "A schedule goes one way, from its first value to its last, and stays there"
    low,high = min(ends),max(ends)
    a,b = linear(ends, share),linear(ends, share+more)
    assert low-1e-9<=a<=high+1e-9 and (abs(b-ends[1])<=abs(a-ends[1])+1e-9) and linear(ends, 0)==ends[0] and math.isclose(linear(ends, 1), ends[1], abs_tol=1e-9)
    schedule = TrainingSchedule(SimpleNamespace(), step)
    schedule.learn = SimpleNamespace(pct_train=min(1., max(0., share)))
    now = schedule.share(steps)
    assert now>=0 and (steps or now==1)
    schedule.step += 1
    assert schedule.share(steps)>=now

@prop(600, st.floats(1e-6, 1), st.lists(st.integers(0, 1000), max_size=4), st.floats(.1, 1), st.integers(0, 1100))
def rates_fall(lr, milestones, factor, step):
    "A learning rate falls at each milestone and never rises; the flat one begins low, ends lowest, and never exceeds its middle"
    falling = LearningRateSteps(lr, tuple(milestones), factor)
    assert falling.rate(step+1)<=falling.rate(step)<=lr and math.isclose(falling.rate(2000), lr*factor**len(milestones))
    rate = flat_schedule(lr).scheds['lr']
    assert 0<rate(step/1100)<=lr*(1+1e-6) and math.isclose(rate(.4), lr) and math.isclose(rate(1.), lr/100, rel_tol=1e-4)

# ---- play

torch.manual_seed(0)
MODEL = Caddy(preset_config('breakout', width=16, height=16, features=4, hidden=4, n_actions=3, stacking=2)).eval()
START = np.random.default_rng(0).integers(256, size=(2,16,16,3), dtype=np.uint8)
moves = st.lists(st.one_of(st.tuples(st.just('step'), st.integers(0, 2)), st.tuples(st.sampled_from(['undo','redo','branch','keep','replay','preview','reset']), st.just(0))), max_size=12)

@prop(75, moves, st.integers(1, 5))
def sessions_follow_their_algebra(script, keep):
    "Undo, redo, branch, save, load and replay, in any order, are what a list of actions with a place in it says"
    game,actions,at,oldest,branches = PlaySession(MODEL, START, keep=keep),[],0,0,[]
    frames,same = {(): game.frame},lambda a,b: (a==b).all()
    for move,action in script:
        if move=='step':
            actions[at:] = [action]
            at += 1
            oldest = max(oldest, at-keep)
            frame = game.step(action)
            assert same(frames.setdefault(tuple(actions), frame), frame) # the same actions, the same pixels
        elif move=='undo':
            if at and at<=oldest:
                try: game.undo(); assert False, 'it went back too far'
                except PvgError: continue
            at = max(at-1, 0); game.undo()
        elif move=='redo': at = min(at+1, len(actions)); game.redo()
        elif move=='branch': branches.append((game.branch(), list(actions[:at])))
        elif move=='keep': game.save_state(FOLDER/'state.safetensors'); game = PlaySession.load(MODEL, FOLDER/'state.safetensors')
        elif move=='replay':
            shown = PlaySession(MODEL, START).replay(json.loads(json.dumps(game.record())))
            assert len(shown)==at+1 and all(same(o, frames[tuple(actions[:i])]) for i,o in enumerate(shown))
        elif move=='preview': game.preview()
        else: game.reset(); actions,at,oldest = [],0,0
        assert (game.actions, game.undone)==(actions[:at], len(actions)-at) and same(game.frame, frames[tuple(actions[:at])])
    for other,seen in branches: assert other.actions==seen and same(other.frame, frames[tuple(seen)]) # whatever the first game did since

# ---- readers of what others wrote

def makes_error_or(kind, f, *args):
    "A value of a kind, or `PvgError` of one line"
    try: value = f(*args)
    except PvgError as e: assert '\n' not in str(e), e; return None
    assert isinstance(value, kind), type(value)
    return value

def mutated(data, content):
    "Some bytes of a content changed, taken away or put in"
    content = bytearray(content)
    for at,how,byte in data.draw(st.lists(st.tuples(st.integers(0, max(0, len(content)-1)), st.sampled_from('=-+'), st.integers(0, 255)), min_size=1, max_size=4)):
        if how=='=' and at<len(content): content[at] = byte
        elif how=='-': del content[at:at+byte%8+1]
        else: content[at:at] = bytes([byte])
    return bytes(content)

write(dict(height=2, width=3, videos=[(5,'a','train',1),(4,'b','val',None)], chunk=2, shard=30, kind='int8', seed=0, metadata={}), FOLDER/'store')
MANIFEST = (FOLDER/'store/manifest.json').read_bytes()

@prop(450, st.data())
def manifests_are_data(data):
    "Whatever a manifest says, resealed or not: a store, or one line that says what is wrong; frames of the right shape, or one line"
    way = data.draw(st.sampled_from(['bytes','text','tree','field']))
    if way=='bytes': content = mutated(data, MANIFEST)
    elif way=='text': content = data.draw(st.binary(max_size=60))
    else:
        tree = json.loads(MANIFEST)
        place = tree if way=='tree' else data.draw(st.sampled_from([tree['codec'], tree['videos'][0], tree['files'], tree['files']['chunks.npy']]))
        key = data.draw(st.sampled_from(sorted(place))) if data.draw(st.booleans()) else data.draw(st.text(max_size=5))
        place[key] = data.draw(json_values | st.integers(-2**40, 2**40))
        content = json.dumps(dict(tree, seal=_seal(tree))).encode()
    (FOLDER/'store/manifest.json').write_bytes(content)
    store = makes_error_or(VideoStore, VideoStore, FOLDER/'store')
    makes_error_or(object, check_store, FOLDER/'store')
    if store: [makes_error_or(np.ndarray, store.read, i) for i in range(len(store))]

YAML = b'''
data: {data_root: "here", crop: [0, 0, 10, 10]}
model: {actions_count: 3, action_space_dimension: 2}
training: {batch_size: 8, max_steps: 100, observations_count_start: 4, observations_count_end: 8, learning_rate: 0.0004, loss_weights: {reconstruction_lambda: 1.0}}
evaluation: {batch_size: 2}
'''

@prop(450, st.data())
def configurations_are_data(data):
    "Whatever a YAML file says: settings, or one line"
    path = FOLDER/'config.yaml'
    way = data.draw(st.sampled_from(['bytes','text','tree']))
    content = mutated(data, YAML) if way=='bytes' else data.draw(st.binary(max_size=60)) if way=='text' else yaml.safe_dump(
        {a: {b: data.draw(json_values)} for a,b in zip(['training','model','data'], data.draw(st.lists(st.sampled_from(['batch_size','lr','size','crop','width','max_steps','gumbel_temperature_start','observations_count','splits','x']), min_size=1, max_size=3)))}).encode()
    path.write_bytes(content)
    found = makes_error_or(PublishedConfig, read_config, path)
    if found: str(found); makes_error_or(object, published_preset, found)

class Canary:
    "A pickle of it would leave a file"
    def __reduce__(self): return os.mkdir, (str(FOLDER/'executed'),)

plain_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10) | st.binary(max_size=10) | st.builds(lambda n,k: np.arange(n).astype(k), st.integers(0, 5), st.sampled_from(['int8','float32','>i4','bool'])) | st.builds(np.float32, st.floats(-9, 9)),
    lambda o: st.lists(o, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(), o, max_size=4) | st.tuples(o, o) | st.sets(st.integers(), max_size=3), max_leaves=8)

def same(a, b):
    "The same values of the same types"
    if isinstance(a, np.ndarray): return isinstance(b, np.ndarray) and a.dtype.newbyteorder('=')==b.dtype.newbyteorder('=') and (a==b).all()
    if isinstance(a, (list,tuple)): return type(a)==type(b) and len(a)==len(b) and all(map(same, a, b))
    if isinstance(a, dict): return type(a)==type(b) and a.keys()==b.keys() and all(same(v, b[k]) for k,v in a.items())
    return type(a)==type(b) and a==b

@prop(600, plain_values, st.integers(0, 5))
def pickles_of_data_are_read(value, protocol):
    "Plain data reads as Python's own unpickler reads it, in every protocol"
    data = pickle.dumps(value, protocol)
    assert same(pickle.loads(data), read_pickle(data))

@prop(900, st.data())
def pickles_run_nothing(data):
    "Any bytes, and real pickles that are changed or call something: data, or one line; nothing is executed"
    way = data.draw(st.sampled_from(['bytes','mutated','hostile','operations']))
    if way=='bytes': content = data.draw(st.binary(max_size=80))
    elif way=='mutated': content = mutated(data, pickle.dumps(data.draw(plain_values), data.draw(st.integers(0, 5))))
    elif way=='hostile': content = mutated(data, pickle.dumps([data.draw(plain_values), Canary()], data.draw(st.integers(0, 5)))) if data.draw(st.booleans()) else pickle.dumps({1: Canary()}, data.draw(st.integers(0, 5)))
    else: content = b''.join(data.draw(st.lists(st.sampled_from([b'(', b']', b'}', b')', b'0', b'2', b'1', b'a', b'e', b's', b'u', b't', b'R', b'b', b'q\x00', b'h\x00', b'\x94', b'\x85', b'\x86', b'K\x01', b'N', b'cos\nmkdir\n', b'cnumpy\ndtype\n', b'cbuiltins\neval\n', b'X\x02\x00\x00\x00f4', b'\x93', b'\x81', b'o', b'i', b'Q', b'.']), max_size=25)))+b'.'
    makes_error_or(object, read_pickle, content)
    assert not (FOLDER/'executed').exists()

WHOLE = save_model(MODEL, FOLDER/'whole.safetensors', dict(actions=['a','b','c']), START[:1], ({'random': torch.arange(3)}, dict(step=1))).read_bytes()

@prop(180, st.data())
def checkpoints_are_data(data):
    "A changed checkpoint is refused in one line, to play and to train; any other file too"
    content = mutated(data, WHOLE) if data.draw(st.integers(0, 3)) else data.draw(st.binary(max_size=60))
    path = FOLDER/'changed.safetensors'
    path.write_bytes(content)
    both = makes_error_or(Caddy, load_model, path),makes_error_or((tuple,type(None)), load_training, path)
    assert content==WHOLE or None in both
    assert check_checkpoint(path).whole==(content==WHOLE)

@prop(240, st.data())
def games_are_data(data):
    "Any text of a game replays, or is refused in one line"
    game = PlaySession(MODEL, START)
    text = dict(game.record(), actions=data.draw(st.lists(st.integers(-1, 3), max_size=3)))
    text[data.draw(st.sampled_from(['format','actions','variations','start','names','fps']))] = data.draw(json_values)
    makes_error_or(np.ndarray, game.replay, text)

GAME = PlaySession(MODEL, START, keep=3)
GAME.autoplay(4)
SAVED = GAME.save_state(FOLDER/'whole-state.safetensors').read_bytes()

@prop(120, st.data())
def saved_sessions_are_data(data):
    "A changed session goes on as a game of the right shape, or is refused in one line; any other file too"
    path = FOLDER/'changed-state.safetensors'
    path.write_bytes(mutated(data, SAVED) if data.draw(st.integers(0, 3)) else data.draw(st.binary(max_size=60)))
    game = makes_error_or(PlaySession, PlaySession.load, MODEL, path)
    if game: assert game.frame.shape==(16,16,3) and all(0<=a<3 for a in game.actions) and game.step(1).shape==(16,16,3)

(FOLDER/'page/starts').mkdir(parents=True)
for name,content in game_files(MODEL, START[:1,None], b'graph', 'Title', {}).items(): (FOLDER/'page'/name).write_bytes(content)
(FOLDER/'diary.txt').write_text('mine')
PAGE = (FOLDER/'page/game.json').read_bytes()
paths = st.lists(st.sampled_from(['..','.','','starts','1.png','diary.txt','page','play.js','~','%2e%2e','\\','etc','\0','C:']), max_size=5).map('/'.join)

@prop(300, st.data())
def pages_serve_their_own(data):
    "Whatever a page says of its files: all that is served is in its folder, or the page is refused in one line"
    way = data.draw(st.sampled_from(['bytes','names','field']))
    facts = json.loads(PAGE)
    if way=='names': facts['bytes'] |= {o: 1 for o in data.draw(st.lists(paths | st.text(max_size=12), max_size=3))}
    if way=='field': facts[data.draw(st.sampled_from(sorted(facts)))] = data.draw(json_values)
    (FOLDER/'page/game.json').write_bytes(mutated(data, PAGE) if way=='bytes' else json.dumps(facts).encode())
    files = makes_error_or(dict, page_files, FOLDER/'page')
    for path in (files or {}).values(): assert path.is_file() and (FOLDER/'page').resolve() in path.parents, path

# ---- all of them

def holds(name, minutes, number):
    "Whether a property holds, for its own examples or for new ones during some minutes"
    f,values,examples = PROPERTIES[name]
    begun,chosen = time.time(),{} if minutes else dict(derandomize=True)
    while True:
        test = given(*values)(f)
        if minutes: test = seed(number)(test)
        try: settings(max_examples=examples, deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck), **chosen)(test)()
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt): raise
            print('\n'.join(traceback.format_exc().splitlines()[-16:]))
            print(f'  {name} FAILS'+(f'; again with: python .ci/fuzz.py {name} --minutes .001 --seed {number}' if minutes else ''), flush=True)
            return False
        number += 1
        if not minutes or time.time()-begun>60*minutes: break
    print(f'  {name}: {TRIED[name]} inputs, {time.time()-begun:.0f} s', flush=True)
    return True

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('properties', nargs='*', default=[], help=f'some of {", ".join(PROPERTIES)}; all if none')
    parser.add_argument('--minutes', type=float, help='for all properties together, with new examples')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--write', type=Path, help='JSON file whose part `fuzzing` gets the counts')
    args = parser.parse_args()
    names,out = args.properties or list(PROPERTIES),{}
    failed = [name for name in names if not holds(name, args.minutes and args.minutes/len(names), args.seed)]
    for name in names: out[name] = dict(law=PROPERTIES[name][0].__doc__, inputs=TRIED.get(name, 0))
    print(f'  {sum(TRIED.values())} inputs, {len(failed)} of {len(names)} properties failed', flush=True)
    if failed: return 1
    if args.write:
        old = json.loads(args.write.read_text()) if args.write.exists() else {}
        args.write.parent.mkdir(parents=True, exist_ok=True)
        command = 'python .ci/fuzz.py'+(f' --minutes {args.minutes:g} --seed {args.seed}' if args.minutes else '')
        args.write.write_text(json.dumps({**old, 'fuzzing': dict(command=command, properties=out)}, indent=1)+'\n')

if __name__=='__main__':
    try: sys.exit(main())
    finally: shutil.rmtree(FOLDER, ignore_errors=True)
