"""Everything CI runs, in order: `python .ci/check.py` or, for some of it, `python .ci/check.py layers notebooks`.

Nothing here changes the working tree: notebooks are cleaned and exported in a copy and compared. Ends in one line,
`N passed, M failed`, where N counts notebooks and steps.
"""
import difflib, os, shutil, signal, subprocess, sys, tempfile, threading, time, traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CI = ROOT/'.ci'
BIN = Path(sys.executable).parent                                      # of the development environment
CPUS = os.cpu_count() or 1
NOTEBOOK_LIMIT = 1800                                                  # seconds for all of them together
ENV = {**os.environ, 'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}', 'MPLBACKEND': 'Agg', 'PYTHONHASHSEED': '0', 'PYTHONUNBUFFERED': '1',
       **{f'{lib}_NUM_THREADS': '1' for lib in ('OMP', 'MKL', 'OPENBLAS')}} # workers share the cores, torch must not take all

class Failed(Exception):
    "A step went wrong: what, and what to do"
    def __init__(self, message, passed=0, failed=1):
        super().__init__(message)
        self.passed,self.failed = passed,failed

def run(*command, cwd=ROOT, env=ENV, message=None, quiet=False, limit=1200):
    "Run a command, or fail with its last lines"
    try: done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True, timeout=limit,
        stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None)
    except subprocess.TimeoutExpired: raise Failed(f'{command[0]} took more than {limit} s')
    if done.returncode: raise Failed('\n'.join([*(done.stdout or '').splitlines()[-40:], message or f'failed: {" ".join(map(str, command))}']))
    return done.stdout

def script(name, *args): run(sys.executable, CI/name, *args, message=f'.ci/{name} found the problems above')


def texts(root):
    "Contents of every file that nbdev_clean or nbdev_export may write"
    files = [*(root/'nbs').rglob('*.ipynb'), *(root/'pvg').rglob('*.py'), root/'pyproject.toml']
    skip = {'__pycache__', '.ipynb_checkpoints'}
    return {str(f.relative_to(root)):f.read_bytes() for f in files if f.is_file() and not skip & set(f.parts)}

def step_export():
    "nbdev_clean and nbdev_export leave no diff"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ('nbs', 'pvg'): shutil.copytree(ROOT/name, copy/name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
        for name in ('settings.ini', 'pyproject.toml', '_quarto.yml'): shutil.copy(ROOT/name, copy/name)
        before = texts(copy)
        for path in (copy/'pvg').rglob('*.py'):
            if path.name!='__init__.py': path.unlink()                 # so that a module without a notebook shows
        for tool in ('nbdev_clean', 'nbdev_export'): run(BIN/tool, cwd=copy, quiet=True)
        after = texts(copy)
    changed = [n for n in sorted({*before, *after}) if before.get(n)!=after.get(n)]
    for name in changed:
        lines = [t.get(name, b'').decode('utf-8').splitlines() for t in (before, after)]
        print(*list(difflib.unified_diff(*lines, name, f'{name}, made anew', lineterm='', n=1))[:20], sep='\n')
    if changed: raise Failed(f'nbdev_clean and nbdev_export change {", ".join(changed)}: run `make prepare` and commit the result')

def step_readme():
    "README.md is in sync with nbs/index.ipynb"
    script('readme.py', '--check')

def step_layers():
    "imports run from lower-numbered notebooks only, and every module has one"
    script('layers.py')

def step_pages():
    "every link, heading, picture and name on the pages leads somewhere, and the sidebar names every page"
    script('pages.py')

def step_site():
    "nbdev makes pages for Quarto of all notebooks, and every link in them leads somewhere"
    script('site.py')

def step_blocks():
    "every command that README and pages show is one that works"
    script('blocks.py')

def step_lint():
    "ruff, mypy, the coverage of the documentation, requirements, and the files around the package"
    from importlib.util import find_spec
    for tool in ('ruff', 'mypy'):
        if not find_spec(tool): raise Failed(f"{tool} is not installed: pip install -e '.[dev]'")
    run(BIN/'ruff', 'check', 'pvg', message='ruff found the problems above')
    run(BIN/'mypy', message='mypy found the problems above')
    script('coverage.py')
    script('habits.py')
    script('requirements.py')

def step_imports():
    "import pvg is quick and light"
    script('imports.py', *[m for m in ('pvg', 'pvg.cli') if m=='pvg' or (ROOT/'pvg/cli.py').exists()])

def shown(path):
    "Does nbdev see this file of nbs? Names that begin with a dot or an underscore are private"
    return not any(p.startswith(('.', '_')) for p in path.relative_to(ROOT/'nbs').parts)

def step_notebooks():
    "every cell of every notebook runs (nbdev_test)"
    there = lambda: {p for p in (ROOT/'nbs').rglob('*') if p.is_file() and not {'__pycache__', '.ipynb_checkpoints'} & set(p.parts)}
    before = there()
    count = len([p for p in before if p.suffix=='.ipynb' and shown(p)])
    if not count: raise Failed('there are no notebooks in nbs')
    command = [BIN/'nbdev_test', '--n_workers', min(CPUS, 4, count), '--do_print', '--timing', '--pause', '0.2']
    process = subprocess.Popen([str(c) for c in command], cwd=ROOT, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True)
    late = []
    def stop():
        late.append(True)
        os.killpg(process.pid, signal.SIGKILL)
    timer = threading.Timer(NOTEBOOK_LIMIT, stop); timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.replace(f'{ROOT}{os.sep}', ''))
            print(f'  {lines[-1]}', end='', flush=True)
        process.wait()
    finally:
        timer.cancel()
        if process.poll() is None: os.killpg(process.pid, signal.SIGKILL)
    if late: raise Failed(f'notebooks took more than {NOTEBOOK_LIMIT} s: one that started above and did not complete hangs or is too slow', 0, count)
    if process.returncode:
        tail = ''.join(lines).partition('Tests Failed On The Following Notebooks:')[2]
        bad = [l.strip() for l in tail.splitlines() if l.strip().endswith('.ipynb')]
        raise Failed(f'notebooks failed: {", ".join(bad) or "nbdev_test itself stopped, see above"}', count-(len(bad) or count), len(bad) or count)
    if left := sorted(str(p.relative_to(ROOT)) for p in there()-before): raise Failed(f'notebooks left files behind: {", ".join(left)}', count)
    return count

def step_faults():
    "work that is killed at any moment loses nothing: real processes, a few moments each"
    run(sys.executable, CI/'faults.py', '--moments', 2, message='.ci/faults.py found the problems above')

def step_processes():
    "two processes, started by torchrun, train as one with the whole batch does"
    run(sys.executable, CI/'two_processes.py', message='.ci/two_processes.py found the problems above', limit=600)

def step_fuzz():
    "any input keeps to the laws (hypothesis)"
    from importlib.util import find_spec
    if not find_spec('hypothesis'): raise Failed("hypothesis is not installed: pip install -e '.[dev]'")
    run(sys.executable, CI/'fuzz.py', message='.ci/fuzz.py found the problems above')

def step_soak():
    "long runs stay flat, in small: training, play, a cell run again, a folder of tiny files"
    run(sys.executable, CI/'soak.py', message='.ci/soak.py found the problems above')

def step_browser():
    "a real Chromium plays the panel in JupyterLab, the page of `pvg play` and an exported page, and README begins with its picture"
    from importlib.util import find_spec
    if not (shutil.which('chromium') or Path('/usr/bin/chromium').exists()): raise Failed('there is no Chromium: on Debian, apt-get install chromium')
    if not find_spec('playwright'): raise Failed("playwright is not installed: pip install -e '.[dev]'")
    run(sys.executable, CI/'browser.py', message='.ci/browser.py found the problems above', limit=900)

def step_wheel():
    "a wheel installs in a clean environment without nbdev, on the newest releases, and the whole path works there"
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run(sys.executable, '-m', 'build', '--outdir', folder/'dist', ROOT, quiet=True) # the wheel is made from the sdist, so both are whole
        wheel, = (folder/'dist').glob('*.whl')
        run(sys.executable, '-m', 'twine', 'check', '--strict', *(folder/'dist').iterdir(), quiet=True)
        packed = run('tar', '-tzf', next((folder/'dist').glob('*.tar.gz')), quiet=True)
        lacking = [o for o in ('.ci/check.py', 'nbs/index.ipynb', 'nbs/golden/breakout.npz', 'nbs/sidebar.yml', 'pvg/py.typed', 'pvg/shipped/breakout.safetensors', 'Makefile') if f'/{o}\n' not in packed]
        if lacking: raise Failed(f'the sdist lacks {", ".join(lacking)}: see MANIFEST.in')
        clean = ROOT/'.venv-wheel'
        shutil.rmtree(clean, ignore_errors=True)
        try:
            run(sys.executable, '-m', 'venv', clean)
            bin_ = clean/'bin'
            env = {**{k:v for k,v in ENV.items() if not k.startswith(('PYTHON', 'OMP', 'MKL', 'OPENBLAS')) },
                   'PATH': f'{bin_}{os.pathsep}{os.environ["PATH"]}'}
            run(bin_/'python', '-m', 'pip', 'install', '--quiet', wheel, env=env, quiet=True)
            run(bin_/'python', '-m', 'pip', 'check', env=env, quiet=True)
            listed = run(bin_/'python', '-m', 'pip', 'list', '--format=freeze', env=env, quiet=True)
            print('  with', ', '.join(l for l in listed.splitlines() if l.split('==')[0] in ('fastai', 'fastcore', 'torch', 'torchvision', 'numpy')), flush=True)
            empty = folder/'empty'; empty.mkdir()
            run(bin_/'python', CI/'imports.py', 'pvg', 'pvg.cli', cwd=empty, env=env, message='`import pvg` is slow, heavy or broken in a clean environment')
            run(bin_/'python', '-c', 'import pvg, sys; sys.exit("site-packages" not in pvg.__file__)', cwd=empty, env=env, message='pvg was not imported from the wheel')
            took = []
            for _ in range(3):
                start = time.perf_counter(); text = run(bin_/'pvg', '--help', cwd=empty, env=env, quiet=True); took.append(time.perf_counter()-start)
            print(f'  pvg --help: {min(took):.2f} s', flush=True)
            if not text.strip(): raise Failed('`pvg --help` prints nothing')
            if min(took)>1: raise Failed(f'`pvg --help` takes {min(took):.1f} s, more than 1 s')
            run(bin_/'python', CI/'smoke.py', cwd=empty, env=env, message='the path from recording to playing is broken in a clean environment')
        finally: shutil.rmtree(clean, ignore_errors=True)


STEPS = {n[5:]:f for n,f in list(globals().items()) if n.startswith('step_')}

def main(names):
    "Run the steps, all of them by default, and count"
    if unknown := [n for n in names if n not in STEPS]: sys.exit(f'no step is called {", ".join(unknown)}; there are: {" ".join(STEPS)}')
    passed = failed = 0
    for name in names or STEPS:
        print(f'== {name}: {STEPS[name].__doc__}', flush=True)
        start = time.time()
        try: more = STEPS[name]() or 0
        except Failed as e:
            print(f'FAILED {name}: {e}', flush=True)
            passed,failed = passed+e.passed,failed+e.failed
        except Exception:
            traceback.print_exc()
            print(f'FAILED {name}: the check itself broke', flush=True)
            failed += 1
        else:
            passed += 1+more
            print(f'   ok, {time.time()-start:.0f} s', flush=True)
    print(f'{passed} passed, {failed} failed', flush=True)
    return bool(failed)

if __name__=='__main__': sys.exit(main(sys.argv[1:]))
