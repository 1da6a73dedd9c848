"""Every command that README and pages show is one that works: `python .ci/blocks.py`, or `--parse` without running any.

Each line of a shell block is taken apart: `pvg` commands by their own parser, `make` targets and extras by looking them up. The
ways from a film to a game, and from a recording to a comparison (RUN, below), are then really gone, in an empty folder, as they are
written but for fewer steps. Python that pages show stands in cells, which the step `notebooks` runs.
"""
import contextlib, inspect, io, os, re, shlex, sys, tempfile, unittest.mock
from pathlib import Path

CI = Path(__file__).resolve().parent
sys.path[:0] = [str(CI), str(CI.parent)]
from pages import FENCE, pages, prose # noqa: E402

ROOT = CI.parent
OTHERS = {'git', 'cd', 'python', 'python3', 'pip', 'npm', 'jupyter', 'docker', 'conda', 'hf', 'ssh', 'torchrun', 'accelerate', '.venv/bin/jupyter', '.venv/bin/nbdev_test'}
RUN = {                                                                # command, as a page shows it -> what is added so that it is quick
    'pvg acquire my-films --size 96 64 --fps 8 --out films': (),
    'pvg train films --actions 2..6 --run films': ('--steps', '3', '--batch-size', '2'),
    'pvg play checkpoints/films/latest.safetensors': ('--headless', '1,2,1'),
    'pvg play': ('--headless', '1'),
    'pvg play --headless 1,1,1,3,2,2 --out recordings': (),
    'pvg record breakout measured --frames 20000 --seed 5': ('--frames', '400'),
    'pvg evaluate shipped measured --most 64 --length 32': ('--most', '2', '--length', '8', '--no-fetch'),
    'pvg record breakout breakout --frames 50000': ('--frames', '400'),
    'pvg train breakout --preset breakout --run b1 --track tensorboard': ('--steps', '1', '--batch-size', '1', '--perceptual', '0'),
    'pvg train breakout --preset breakout --warm-start --run b2': ('--steps', '1', '--batch-size', '1', '--perceptual', '0', '--discovery-steps', '2'),
    'pvg evaluate checkpoints/b1/latest.safetensors breakout --against checkpoints/b2/latest.safetensors': ('--most', '1', '--length', '6', '--no-fetch')}

def shell_lines(path):
    "Every command in the shell blocks of a page"
    for fence in FENCE.finditer(prose(path)):
        head,*lines = fence[0].splitlines()[:-1]
        if head.strip('`~ ') not in ('sh', 'bash', 'shell', 'console'): continue
        for line in '\n'.join(lines).replace('\\\n', ' ').splitlines():
            for part in re.split(r'\s&&\s', re.sub(r'(^|\s)#.*', '', line)):
                if part.strip(): yield ' '.join(part.split())

def inline_commands(path):
    "Every `pvg ...` in the text"
    for span in re.findall(r'(?<!`)`(pvg [^`\n]+)`(?!`)', FENCE.sub('', prose(path))): yield span

def targets(): return set(re.findall(r'(?m)^([a-z]+):', (ROOT/'Makefile').read_text()))

def extras():
    "The extras of settings.ini"
    return set(re.findall(r'(?m)^(\w+)_requirements\b', (ROOT/'settings.ini').read_text()))

def pvg_problem(words, whole=True):
    "What is wrong with a command of ours"
    from pvg.cli import command_parser, commands
    if words[:1]==['--debug']: words = words[1:]
    if not words or words[0] in ('--help', '--version'): return None
    if words[0] in ('COMMAND', '...'): return None
    if words[0] not in commands: return f'there is no command {words[0]}'
    parser = command_parser(commands[words[0]])
    if not whole:                                                      # in the text: `...` and names in capitals stand for something
        have = set(parser._option_string_actions)
        return next((f'{words[0]} has no option {o}' for o in words[1:] if o.startswith('--') and o not in have), None)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try: parser.parse_args(words[1:])
        except SystemExit: return said.getvalue().strip().splitlines()[-1]

def problem(command):
    "What is wrong with a line of a shell block"
    words = shlex.split(command)
    while words and re.match(r'[A-Z_]+=', words[0]) and words[0].split('=')[0]!='ARGS': words = words[1:]
    program,*rest = words
    if program=='pvg': return pvg_problem(rest, whole='...' not in rest)
    if program=='make': return next((f'there is no target {o}' for o in rest if '=' not in o and o not in targets()), None)
    wrong = [o for group in re.findall(r'(?:pvg|\.)\[([\w,]+)\]', command) for o in group.split(',') if o not in extras()]
    if wrong: return f'there is no extra {wrong[0]}'
    if program not in OTHERS: return f'nobody knows the program {program}'

def film(folder):
    "A film as a camera would leave it: a bright thing on a grey table, 30 frames a second"
    import numpy as np
    from pvg.play.recording import save_video
    rng,x = np.random.default_rng(0),20
    frames = np.full((600,96,144,3), 90, np.uint8)+rng.integers(0, 8, (600,96,144,3), np.uint8)
    for t,frame in enumerate(frames):
        x = int(np.clip(x+(0,3,-3)[(t//12)%3 if t%36 else 0], 0, 120))
        frame[40:60,x:x+20] = 230
    folder.mkdir()
    save_video(folder/'phone.mp4', frames, fps=30)

def run_all():
    "Go the ways of RUN"
    import pvg.discover
    from pvg.cli import main
    real,here = pvg.discover.pair_learner,os.getcwd()
    def quick(*args, **options): # as `discover` and `sweep_actions` ask, but short
        asked = inspect.signature(real).bind(*args, **options).arguments
        return real(**{**asked, 'steps':10, 'batch_size':8})
    with tempfile.TemporaryDirectory() as folder, unittest.mock.patch('pvg.discover.pair_learner', quick):
        os.chdir(folder)
        try:
            film(Path('my-films'))
            for command,more in RUN.items():
                said = io.StringIO()
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said): status = main([*shlex.split(command)[1:], *more])
                print(f'  {command}: {"ok" if not status else "FAILED"}', flush=True)
                if status: yield f'{command} {" ".join(more)}: {said.getvalue().strip().splitlines()[-1]}'
        finally: os.chdir(here)

def problems():
    "Commands that cannot be right"
    shown = set()
    for path in [*(ROOT/'nbs'/p for p in pages(ROOT/'nbs')), ROOT/'README.md', ROOT/'CONTRIBUTING.md']:
        name = path.relative_to(ROOT).as_posix()
        for command in shell_lines(path):
            shown.add(command)
            if wrong := problem(command): yield f'{name}: {command}: {wrong}'
        for command in inline_commands(path):
            if wrong := pvg_problem(command.split()[1:], whole=False): yield f'{name}: `{command}`: {wrong}'
    for command in RUN:
        if command not in shown: yield f'.ci/blocks.py: no page shows {command!r} any more'

if __name__=='__main__':
    wrong = list(problems())
    if not wrong and '--parse' not in sys.argv: wrong = list(run_all())
    print(*wrong, sep='\n', end='\n' if wrong else '')
    sys.exit(bool(wrong))
