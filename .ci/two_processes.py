"""Two processes take the steps that one process with the whole batch takes: `python .ci/two_processes.py [torchrun] [accelerate]`.

Real processes, started by torchrun and by accelerate, with gloo, on the processor. One of them is told to stop on the way: both stop after the same step,
and go on together. Losses and weights are compared with those of one process that has twice the batch, in 64 bits, where rounding hides nothing;
files have one writer; what the first process discovers, the other one has.
"""
import json, os, signal, subprocess, sys, tempfile
from contextlib import suppress
from pathlib import Path

STEPS,STOP = 6,2
LAUNCHERS = dict(torchrun='torch.distributed.run --standalone --nproc-per-node 2',
                 accelerate='accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 --mixed_precision no --dynamo_backend no')
SMALL = dict(perceptual_weight=0., hidden=8, features=8, width=32, height=32, clip_lengths=(3,4), clip_steps=4, contexts=(2,2), pretraining_steps=2)

def numbers():
    "A callback that writes down the loss of every step, and takes the noise away, which no two ways of sharing would draw alike"
    from fastai.callback.core import Callback
    class Numbers(Callback):
        order = 70
        def __init__(self, stop=None, exact=False): self.losses,self.stop,self.exact = [],stop,exact
        def before_fit(self):
            self.learn.model.noise = 0.
            if self.exact: self.learn.model.double(); self.learn.loss_func.double()
        def before_batch(self):
            if self.exact: self.learn.xb = self.learn.yb = (self.x.double(),)
        def after_batch(self):
            if not self.training: return
            self.losses.append(self.learn.loss.item())
            if self.learn.training_schedule.step==self.stop: os.kill(os.getpid(), signal.SIGTERM)
    return Numbers

def trained(store, folder, name, batch, stop=None, exact=False, **options):
    "Losses of a training with the published architecture until it was stopped, those after it went on, and what it ends with"
    from pvg.data.store import VideoStore
    from pvg.recipe import train
    import torch
    options |= dict(preset='breakout', steps=STEPS, batch_size=batch, valid_every=3, device='cpu', progress=False, **SMALL)
    losses,store,path = [],VideoStore(store),folder/f'{name}.safetensors'
    for resume in (False,) if stop is None else (False,True):
        counted = numbers()(None if resume else stop, exact)
        with suppress(KeyboardInterrupt): model = train(store, path, cbs=[counted], resume=resume, **options)
        losses.append(counted.losses)
    flat = torch.cat([o.detach().flatten().double() for o in model.state_dict().values()])
    return dict(losses=losses, weights=[flat.norm().item(), (flat@torch.linspace(-1, 1, len(flat), dtype=flat.dtype)).item()])

def together(store, folder):
    "What each of the two processes does"
    from pvg.data.store import VideoStore
    from pvg.recipe import train
    rank = int(os.environ['RANK'])
    exact = trained(store, folder, 'exact-2', 2, exact=True)
    stopped = trained(store, folder, 'stopped', 2, stop=STOP if rank==1 else STEPS+1, results=folder/'stopped')
    ours = train(VideoStore(store), folder/'ours.safetensors', 'quick', steps=2, batch_size=2, discovery_steps=5, device='cpu', progress=False, hidden=8, features=8, clip_lengths=(3,3))
    (folder/f'found-{rank}.json').write_text(json.dumps(dict(exact=exact, stopped=stopped, ours=[o.double().sum().item() for o in ours.state_dict().values()])))

def close(a, b, eps): return len(a)==len(b) and all(abs(x-y)<=eps*max(1, abs(y)) for x,y in zip(a, b))

def problems(folder, exact, plain, two):
    "What is not as it should be"
    for name in ('exact','stopped','ours'):
        if two[0][name]!=two[1][name]: yield f'{name}: the processes do not have the same losses and weights: {two[0][name]}; {two[1][name]}'
    found = two[0]['exact']
    if not close(found['losses'][0], exact['losses'][0], 1e-6): yield f'in 64 bits, two processes: {found["losses"][0]}; one with all clips: {exact["losses"][0]}'
    if not close(found['weights'], exact['weights'], 1e-6): yield f'in 64 bits, weights of two processes: {found["weights"]}; of one: {exact["weights"]}'
    first,second = two[0]['stopped']['losses']
    if len(first)!=STOP: yield f'process 1 was told to stop after {STOP} steps; the processes took {len(first)}'
    if not close(first+second, plain['losses'][0], 1e-2): yield f'stopped on the way: {first} and {second}; one process: {plain["losses"][0]}' # batch norms magnify what 32 bits round
    rows = [(o/'log.csv').read_text().splitlines() for o in (folder/'stopped', folder.parent/'plain')]
    if len(rows[0])!=len(rows[1]): yield f'log.csv has other rows than with one process: {rows[0]}'
    if left := [o.name for o in folder.rglob('*writing*')]: yield f'half-written files: {left}'

def started(launcher, folder):
    "Two processes that train"
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore', 'TORCH_CPP_LOG_LEVEL': 'ERROR'}
    own = folder/launcher
    own.mkdir()
    command = [sys.executable, '-m', *LAUNCHERS[launcher].split(), __file__, 'together', str(folder/'square'), str(own)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

def found_by(launcher, folder, process):
    "What the two wrote down, once they are through"
    said,_ = process.communicate(timeout=900)
    if process.returncode: sys.exit(f'{launcher}: two processes did not get to the end:\n{said[-4000:]}')
    return [json.loads((folder/launcher/f'found-{i}.json').read_text()) for i in range(2)]

def main(launchers):
    with tempfile.TemporaryDirectory() as folder:
        folder,store,wrong = Path(folder),Path(folder)/'square',[]
        from pvg.data.worlds import record_square
        record_square(store, videos=12)
        first = started(launchers[0], folder)
        exact,plain = trained(store, folder, 'exact-1', 4, exact=True),trained(store, folder, 'plain', 4, results=folder/'plain')
        for launcher in launchers:
            two = found_by(launcher, folder, first if launcher==launchers[0] else started(launcher, folder))
            wrong += [f'{launcher}: {o}' for o in problems(folder/launcher, exact, plain, two)]
    print(*wrong, sep='\n', end='\n' if wrong else '')
    if not wrong: print(f'two processes ({" and ".join(launchers)}) and one agree: losses {", ".join(f"{o:.4f}" for o in exact["losses"][0])}')
    sys.exit(bool(wrong))

if __name__=='__main__': together(Path(sys.argv[2]), Path(sys.argv[3])) if sys.argv[1:2]==['together'] else main(sys.argv[1:] or list(LAUNCHERS))
