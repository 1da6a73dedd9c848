"""Two processes take the steps that one process with the whole batch takes: `python .ci/two_processes.py`.

Real processes, started by torchrun, with gloo, on the processor. One of them is told to stop on the way: both stop after the same step,
and go on together. Losses and weights are compared with those of one process that has twice the batch; files have one writer.
"""
import json, os, signal, subprocess, sys, tempfile
from contextlib import suppress
from pathlib import Path

STEPS,STOP = 6,2
SMALL = dict(perceptual_weight=0., hidden=8, features=8, width=32, height=32, clip_lengths=(3,4), clip_steps=4, contexts=(2,2), pretraining_steps=2)

def numbers():
    "A callback that writes down the loss of every step, and takes the noise away, which no two ways of sharing would draw alike"
    from fastai.callback.core import Callback
    class Numbers(Callback):
        order,run_valid = 70,False
        def __init__(self, stop=None): self.losses,self.stop = [],stop
        def before_fit(self): self.learn.model.noise = 0.
        def after_batch(self):
            self.losses.append(self.learn.loss.item())
            if self.learn.training_schedule.step==self.stop: os.kill(os.getpid(), signal.SIGTERM)
    return Numbers

def trained(folder, name, batch, stop=None):
    "Losses of a training with the published architecture, interrupted or not, and what it ends with"
    from pvg.data.store import VideoStore
    from pvg.recipe import train
    import torch
    options = dict(preset='breakout', steps=STEPS, batch_size=batch, results=folder/name, valid_every=3, device='cpu', progress=False, **SMALL)
    counted = numbers()(stop)
    with suppress(KeyboardInterrupt): model = train(VideoStore(folder/'square'), folder/f'{name}.safetensors', cbs=[counted], **options)
    losses = counted.losses
    if stop is not None:
        counted = numbers()()
        model = train(VideoStore(folder/'square'), folder/f'{name}.safetensors', cbs=[counted], resume=True, **options)
    flat = torch.cat([o.detach().flatten().double() for o in model.state_dict().values()])
    return dict(first=losses, second=counted.losses if stop is not None else [], length=flat.norm().item(), along=(flat@torch.linspace(-1, 1, len(flat), dtype=flat.dtype)).item())

def together(folder):
    "What each of the two processes does"
    from pvg.data.store import VideoStore
    from pvg.recipe import train
    rank = int(os.environ['RANK'])
    found = trained(folder, 'two', 2, stop=STOP if rank==1 else STEPS+1)
    ours = train(VideoStore(folder/'square'), folder/'ours.safetensors', 'quick', steps=2, batch_size=2, discovery_steps=5, device='cpu', progress=False, hidden=8, features=8, clip_lengths=(3,3))
    found['ours'] = [o.double().sum().item() for o in ours.state_dict().values()]
    (folder/f'found-{rank}.json').write_text(json.dumps(found))

def close(a, b, eps): return len(a)==len(b) and all(abs(x-y)<=eps*max(1, abs(y)) for x,y in zip(a, b))

def problems(folder, alone, two):
    "What is not as it should be"
    losses = [o['first']+o['second'] for o in two]
    if len(two[0]['first'])!=STOP or len(two[1]['first'])!=STOP: yield f'process 1 was told to stop after {STOP} steps; the processes took {[len(o["first"]) for o in two]}'
    if losses[0]!=losses[1]: yield f'the processes have different losses: {losses}'
    if not close(losses[0], alone['first'], 1e-4): yield f'two processes: {losses[0]}; one with all clips: {alone["first"]}'
    if not close([two[0][k] for k in ('length','along')], [two[1][k] for k in ('length','along')], 0): yield 'the processes end with different weights'
    if not close([two[0]['length']], [alone['length']], 1e-3): yield f'weights are {two[0]["length"]} long with two processes, {alone["length"]} with one'
    if not close(two[0]['ours'], two[1]['ours'], 0): yield 'what one process discovered, the other does not have'
    rows = (folder/'two'/'log.csv').read_text().splitlines()
    if len(rows)!=len((folder/'one'/'log.csv').read_text().splitlines()): yield f'log.csv has other rows than with one process: {rows}'
    if left := [o.name for o in folder.rglob('*writing*')]: yield f'half-written files: {left}'

def main():
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore', 'TORCH_CPP_LOG_LEVEL': 'ERROR'}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        from pvg.data.worlds import record_square
        record_square(folder/'square', videos=12)
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', __file__, 'together', str(folder)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        alone = trained(folder, 'one', 4)
        said,_ = process.communicate(timeout=600)
        if process.returncode: sys.exit(f'two processes did not get to the end:\n{said[-4000:]}')
        two = [json.loads((folder/f'found-{i}.json').read_text()) for i in range(2)]
        wrong = list(problems(folder, alone, two))
    print(*wrong, sep='\n', end='\n' if wrong else '')
    if not wrong: print(f'two processes and one agree: losses {", ".join(f"{o:.4f}" for o in alone["first"])}')
    sys.exit(bool(wrong))

if __name__=='__main__': together(Path(sys.argv[2])) if sys.argv[1:2]==['together'] else main()
