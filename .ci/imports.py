"""`import pvg` and its command line are quick because they leave the heavy libraries alone: `python .ci/imports.py`.

What trains imports them, and says nothing: no warning of theirs greets who takes the first line of README.
"""
import os, subprocess, sys

HEAVY = ('torch', 'fastai', 'torchvision', 'matplotlib', 'nbdev', 'execnb')
LIMIT = 1. # seconds
CODE = '''
import sys, time, importlib
start = time.perf_counter()
importlib.import_module(sys.argv[1])
took = time.perf_counter()-start
print(took, *[m for m in sys.argv[2:] if m in sys.modules])
'''

def measure(module, tries=3):
    "The best of a few times to import `module` in a fresh Python, and the heavy libraries it pulled in"
    runs = [subprocess.run([sys.executable, '-c', CODE, module, *HEAVY], capture_output=True, text=True) for _ in range(tries)]
    if bad := [r for r in runs if r.returncode]: sys.exit(f'import {module} fails:\n{bad[0].stderr}')
    return min(float(r.stdout.split()[0]) for r in runs), runs[0].stdout.split()[1:]

def noise(module):
    "What importing a module says"
    env = {k:v for k,v in os.environ.items() if k!='PYTHONWARNINGS'}
    done = subprocess.run([sys.executable, '-c', f'import {module}'], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip()

if __name__=='__main__':
    failed = bool(said := noise('pvg.recipe'))
    if said: print(f'import pvg.recipe says: {said[:500]}')
    for module in sys.argv[1:] or ['pvg']:
        took,heavy = measure(module)
        wrong = ([f'imports {", ".join(heavy)}'] if heavy else []) + ([f'takes more than {LIMIT:.0f} s'] if took>LIMIT else [])
        failed |= bool(wrong)
        print(f'import {module}: {took:.2f} s', *wrong, sep=', ')
    sys.exit(failed)
