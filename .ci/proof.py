"""What the page about the proof says, measured anew: `python .ci/proof.py discovery`, `quick`, `worlds`, `played WORLD ...`, `shipped`, `warm`, or `model NAME CHECKPOINT STORE`.

Every row goes to nbs/explanations/proof.json at once, under its name, so that an interrupted measurement keeps what it has.
Stores and models are kept in --folder; what is there already is not made again. Nothing else should run on the machine.
"""
import argparse, json, os, platform, subprocess, sys, time
from pathlib import Path
import numpy as np, torch
from fastai.callback.core import Callback
from pvg.checkpoint import load_model
from pvg.core import frames_to_tensor, pick_device, resize_clip, write_atomic
from pvg.data.scenes import movement_labels, record_arm, record_atari
from pvg.data.store import VideoStore
from pvg.data.worlds import _emulator, _split_names, _top, record_breakout
from pvg.demo import controllability, resized_store
from pvg.discover import discover
from pvg.evaluate import evaluate
from pvg.matching import match_actions
from pvg.proof import ball_beside_truth, ball_in_play, held_after
from pvg.recipe import train

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT/'nbs/explanations/proof.json' # beside the page
STILL = 3. # pixels of the paddle's movement that count as standing still

def hardware():
    "The machine, in words"
    model = next((line.split(':')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name')), platform.processor()) if os.path.exists('/proc/cpuinfo') else platform.processor()
    return f'{torch.get_num_threads()} cores of {model}, torch {torch.__version__.split("+")[0]}' if not torch.cuda.is_available() else torch.cuda.get_device_name()

def keep(name, row):
    "Put a row into the table"
    rows = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    rows[name] = row | dict(hardware=hardware())
    write_atomic(TABLE, json.dumps(rows, indent=1, sort_keys=True)+'\n')
    print(name, json.dumps(rows[name]), flush=True)

def breakout(folder, seed, **options):
    "A store of Breakout"
    path = folder/f'breakout-{seed}{"-serves" if options.get("serves") else ""}'
    return VideoStore(path) if path.exists() else record_breakout(path, seed=seed, progress=False, **options)

def purity(network, store, size, n_actions, still, step=1, split='test', most=3000):
    "Purity and matched share of the discovered actions on held-out transitions, against directions of the true movement"
    found,true,left = [],[],most
    for i in store.indices(split):
        if left<=0: break
        frames = frames_to_tensor(store.read(i))
        if size: frames = resize_clip(frames[None], *size)[0]
        with torch.no_grad():
            for a in range(0, len(frames)-step, 64):
                n = min(64, len(frames)-step-a)
                found.append(network(torch.stack([frames[a:a+n],frames[a+step:a+n+step]], dim=1)).logits[:,0].argmax(dim=-1))
        position = store.column('position', i)
        true.append(position[step:]-position[:-step])
        left -= len(frames)-step
    found,true = torch.cat(found).numpy(),movement_labels(np.concatenate(true), still)
    known = true>=0
    match = match_actions(found[known], true[known], n_actions)
    return dict(purity=match.purity, matched=match.agreement, commonest=float(np.bincount(true[known]).max()/known.sum()), transitions=int(known.sum()),
                usage=(np.bincount(found, minlength=n_actions)/len(found)).round(3).tolist())

def discovery(store, size, n_actions, still, seed, **options):
    "Discover, and judge"
    begin = time.monotonic()
    found = discover(store, n_actions, size=size, seed=seed, device='cpu', progress=False, **options)
    seconds = time.monotonic()-begin
    return dict(seconds=seconds, seed=seed, skip=found.skip, explained=found.explained, names=found.names, notes=list(found.notes), split='test', **purity(found.network, store, size, n_actions, still, 1+found.skip))

def record_sticks(path, seed, game, sticks, place, still, videos=80, frames=150, frame_skip=4):
    "A game in which sticks are held for 2 to 8 frames at random and nobody fires; `place` tells where the avatar is from the emulator's memory"
    rng = np.random.default_rng(seed)
    ale,names = _emulator(game, int(rng.integers(2**31)))
    with VideoStore.create(path, 160, 208, fps=60/frame_skip, metadata=dict(world=game, still=still, seed=seed, frame_skip=frame_skip)) as writer:
        for _ in range(videos):
            if ale.game_over(): ale.reset_game()
            actions = np.concatenate([np.full(rng.integers(2,9), rng.integers(len(sticks)), np.int8) for _ in range(frames)])[:frames]
            pictures,places = [],[]
            for a in actions:
                pictures.append(ale.getScreenRGB()[_top:_top+208])
                places.append(place(ale.getRAM().astype(np.float32)))
                for _ in range(frame_skip): ale.act(getattr(names, sticks[a]))
            writer.add(np.stack(pictures), action=actions, position=np.stack(places))
        writer.assign(_split_names(videos, (.8,.1,.1), rng))
    return VideoStore(path)

def bowling(path, seed): return record_sticks(path, seed, 'bowling', ('NOOP','UP','DOWN'), lambda m: -m[40], .5)
def crossbow(path, seed): return record_sticks(path, seed, 'crossbow', ('NOOP','LEFT','RIGHT','UP','DOWN'), lambda m: np.array([m[60],-m[61]]), 1.)

WORLDS = dict(pong=(lambda p, seed: record_atari(p, 'pong', frames=12_000, seed=seed, progress=False), (80,104), 3), freeway=(lambda p, seed: record_atari(p, 'freeway', frames=12_000, seed=seed, progress=False), (80,104), 3),
              bowling=(bowling, (80,104), 3), crossbow=(crossbow, (80,104), 5), arm=(lambda p, seed: record_arm(p, frames=6_000, seed=seed, progress=False), None, 5))

def world_store(name, folder, seed):
    "A store of another world"
    path = folder/f'{name}-{seed}'
    return VideoStore(path) if path.exists() else WORLDS[name][0](path, seed)

def world(name, folder, seed):
    "Discovery in a world that nothing was tuned on"
    store,(_,size,n) = world_store(name, folder, seed),WORLDS[name]
    keep(f'discovery-{name}-{seed}', discovery(store, size, n, store.metadata['still'], seed))

def measured(model, store, clips=100):
    "The numbers of the paper on the test split"
    scale = store.width/model.config.width # positions are measured at the model's size, told in pixels of the store
    found = evaluate(model, store, metrics=['mse','psnr'], most=clips, fetch=False)
    pick = {k: found.measures.get(k) for k in ('delta_mse','delta_acc','delta_acc/cross_validated','mdr','frames_until_lost','frames_until_lost/never','direction/purity','controllability','psnr/avg')}
    pick |= {k: scale*found.measures.get(k, np.nan) for k in ('add','add/still','add/replay')}
    return {k: None if v is None or not np.isfinite(v) else float(v) for k,v in pick.items()} | dict(clips=len(found.true), frames=found.true.length, context=4, steps=model.card.get('steps'))

def quality(model, store, n=32):
    "The same, and how long things obey, in Breakout"
    return measured(model, store) | dict(held_4=controllability(model, store, n=n), held_200=held_after(model, store, n=n//2))

def ball(model, store, games=16):
    "How long the ball lasts"
    beside = ball_beside_truth(model, store, n=games, steps=100)
    at = lambda key: {str(t): beside[key][t-1] for t in (1,5,10,20,50,100)}
    return dict(beside_truth=dict(present=at('present'), distance=at('distance'), bounces=beside['bounces'], true_bounces=beside['true_bounces'], games=beside['games'],
                                  present_after_50=float(np.nanmean([np.nan if o is None else o for o in beside['present'][50:]]))),
                in_play=ball_in_play(model, store, n=games, steps=1000))

def quick(folder, seed, minutes):
    "The demonstration from nothing, and its quality"
    out,begin = folder/f'quick-{seed}',time.monotonic()
    if not (out/'report.json').exists():
        subprocess.run([sys.executable, '-c', 'from pvg.cli import main; main()', 'demo', '--minutes', str(minutes), '--seed', str(seed), '--out', str(out)], check=True)
    report,model,store = json.loads((out/'report.json').read_text()),load_model(out/'model.safetensors'),VideoStore(out/'breakout')
    size = None if (model.config.width,model.config.height)==(store.width,store.height) else (model.config.width, model.config.height)
    keep(f'quick-{seed}', dict(time=report['time'], seed=seed, preset=model.config.name, **purity(model.action_networks[0], store, size, model.config.n_actions, STILL), **quality(model, store)))

def played(name, folder, seed, minutes):
    "The recipe of the demonstration in another world, from nothing"
    store,(_,size,n) = world_store(name, folder, seed),WORLDS[name]
    path,checkpoint = (folder/f'{name}-{seed}{o}' for o in ('-small','.safetensors'))
    small = store if size is None else VideoStore(path) if path.exists() else resized_store(store, path, *size)
    model = load_model(checkpoint) if checkpoint.exists() else train(small, checkpoint, 'quick', seconds=60*minutes, seed=seed, device='cpu', n_actions=n)
    if model.card['done']<1: sys.exit(f'{checkpoint} was left half trained: remove it')
    keep(f'played-{name}-{seed}', dict(minutes=minutes, seed=seed, preset=model.config.name, names=model.card['actions'], **measured(model, store)))

class Held:
    "Clips that are never trained on, and whether a model's actions are those of the paddle"
    def __init__(self, store, split, n, length=12):
        places = [(i,start) for i in store.indices(split) for start in range(0, store.videos[i].frames-length, 3*length)][:n]
        self.clips = torch.stack([frames_to_tensor(store.read(i, start, start+length)) for i,start in places])
        self.true = movement_labels(np.concatenate([np.diff(store.column('position', i)[start:start+length]) for i,start in places]), STILL)

    @torch.no_grad()
    def see(self, model):
        was,device = model.training,model.centroids.device
        model.eval()
        seen = torch.cat([model.observe(o.to(device)).logits for o in self.clips.split(12)]).argmax(dim=-1).flatten().cpu().numpy()
        model.train(was)
        k = model.config.n_actions
        return dict(purity=float(match_actions(seen, self.true, k).purity), usage=(np.bincount(seen, minlength=k)/len(seen)).round(3).tolist())

class Curve(Callback):
    "What a training's actions are worth, every so many steps"
    order,run_valid = 70,False
    def __init__(self, held, every): self.held,self.every,self.rows = held,every,[]

    def note(self, step):
        terms = self.learn.loss_func.terms if step else {}
        self.rows.append(dict(step=step, **self.held.see(self.model), **{k: float(terms[k]) for k in ('rec','mutual_information') if k in terms}))
        print(json.dumps(self.rows[-1]), flush=True)

    def before_train(self): self.note(self.learn.training_schedule.step)
    def after_batch(self):
        step = self.learn.training_schedule.step
        if step%self.every==0: self.note(step)

def warm(folder, seed, steps, device, every=200):
    "The published preset, after a warm start and from nothing, without its perceptual term"
    store = breakout(folder, 5, frames=60_000)
    val,test = Held(store, 'val', 40),Held(store, 'test', 90)
    for name in ('warm','scratch'):
        curve,begin = Curve(val, every),time.monotonic()
        model = train(store, folder/f'published-{name}-{seed}.safetensors', 'breakout', steps=steps, valid_every=steps, warm_start=name=='warm', perceptual_weight=0., seed=seed, device=device, cbs=[curve])
        keep(f'published-{name}-{seed}', dict(seconds=time.monotonic()-begin, steps=steps, seed=seed, curve=curve.rows, test=test.see(model), commonest=float(np.bincount(test.true).max()/len(test.true)), transitions=len(test.true)))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('what', choices=['discovery','quick','worlds','played','shipped','warm','model'])
    p.add_argument('args', nargs='*', help='NAME CHECKPOINT STORE of a model')
    p.add_argument('--seeds', default='0,1,2')
    p.add_argument('--minutes', type=float, default=9.)
    p.add_argument('--steps', type=int, default=2000, help='of a published training')
    p.add_argument('--device', help='of a published training; the best one there if not given')
    p.add_argument('--folder', type=Path, default=Path('proof'))
    o = p.parse_args()
    o.folder.mkdir(parents=True, exist_ok=True)
    for seed in map(int, o.seeds.split(',')):
        if o.what=='discovery': keep(f'discovery-breakout-{seed}', discovery(breakout(o.folder, seed, frames=12_000), (80,104), 3, STILL, seed))
        if o.what=='quick': quick(o.folder, seed, o.minutes)
        if o.what=='warm': warm(o.folder, seed, o.steps, pick_device(o.device))
        if o.what=='worlds':
            for name in o.args or WORLDS: world(name, o.folder, seed)
        if o.what=='played':
            for name in o.args: played(name, o.folder, seed, o.minutes)
    if o.what=='shipped': o.args = ['shipped','shipped',breakout(o.folder, 11, frames=60_000, video_frames=300, serves=True).path]
    if o.what in ('shipped','model'):
        name,checkpoint,path = o.args
        model,store = load_model(checkpoint),VideoStore(path)
        keep(name, quality(model, store) | ball(model, store) | purity(model.action_networks[0], store, None, model.config.n_actions, STILL))

if __name__=='__main__': main()
