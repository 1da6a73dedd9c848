"""The lowest releases that settings.ini allows: `python3.10 .ci/lowest.py FOLDER` makes an environment of them in a new folder and works in it.

Imports every module, asks for help, records, discovers, trains and plays, and runs the cells of pages that need nothing else (`--pages 00 10 ...` for others).
What the requirements themselves require is as new as they allow.
"""
import argparse, configparser, os, re, subprocess, sys, tempfile, venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = '00 10 12 14 25 26 28 61 71 80'.split()
IMPORTS = '''
import importlib, pkgutil, pvg
names = [o.name for o in pkgutil.walk_packages(pvg.__path__, 'pvg.')]
for o in names: importlib.import_module(o)
print(f'  {len(names)} modules import')
'''
COMMANDS = ['--help', 'record square world --frames 256', 'discover world --steps 30', 'train world game.safetensors --minutes .2', 'play game.safetensors --headless 1,2,3', 'play --headless 1,1,2,3', 'check .']
RUN = '''
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))['cells']:
    text = ''.join(cell['source'])
    if cell['cell_type']=='code' and not any(f'#| {o}' in text for o in ('slow','cuda','net','eval: false')): shell.run_cell(text, silent=True).raise_error()
'''

def lowest():
    "Each requirement at its lower bound, those of the extra `eval` too"
    found = configparser.ConfigParser()
    found.read(ROOT/'settings.ini')
    return [re.sub(r'>=([^,]+).*', r'==\1', o) for o in f'{found["DEFAULT"]["requirements"]} {found["DEFAULT"]["eval_requirements"]}'.split()] # the pages measure with LPIPS

def environment(folder):
    "Make it; its Python"
    venv.create(folder, with_pip=True)
    python = folder/'bin'/'python'
    for what in ([*lowest()], ['--no-deps', str(ROOT)]): subprocess.run([python, '-m', 'pip', 'install', '--quiet', *what], check=True)
    return python

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='where the environment is made; one that is there is used')
    parser.add_argument('--pages', nargs='*', default=PAGES, help='numbers of notebooks whose cells are run')
    args = parser.parse_args()
    folder = args.folder.resolve()
    python = folder/'bin'/'python' if (folder/'bin'/'pvg').exists() else environment(folder)
    env = {k: v for k,v in os.environ.items() if k!='PYTHONPATH'} | dict(MPLBACKEND='Agg', PATH=f'{folder/"bin"}{os.pathsep}{os.environ["PATH"]}')
    with tempfile.TemporaryDirectory() as place:
        run = lambda *o, cwd=place: subprocess.run([*map(str, o)], cwd=cwd, env=env, check=True)
        run(python, '-W', 'ignore', '-c', IMPORTS)
        for o in COMMANDS: run(folder/'bin'/'pvg', *o.split()); print(f'  pvg {o}', flush=True)
        for o in args.pages:
            page, = (ROOT/'nbs').glob(f'{o}_*.ipynb')
            run(python, '-W', 'ignore', '-c', RUN, page, cwd=page.parent)
            print(f'  {page.name}', flush=True)

if __name__=='__main__': sys.exit(main())
