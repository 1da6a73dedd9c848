"""Files around the package agree with it: `python .ci/habits.py`. Versions, extras, the container's rules, workflows and templates."""
import re, shutil, sys
from configparser import ConfigParser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
read = lambda name: (ROOT/name).read_text(encoding='utf-8')

def settings():
    parser = ConfigParser(delimiters=['='], interpolation=None)
    parser.read(ROOT/'settings.ini', encoding='utf-8')
    return dict(parser['DEFAULT'])

def container(text):
    "The rules of hadolint that matter here"
    lines = [l for l in text.replace('\\\n', ' ').splitlines() if l.strip() and not l.startswith('#')]
    words = [l.split(None, 1) for l in lines]
    base = next((rest for word,rest in words if word=='FROM'), '')
    if ':' not in base or base.endswith(':latest'): yield 'FROM names no version'
    users = [rest for word,rest in words if word=='USER']
    if not users or users[-1] in ('root', '0'): yield 'runs as root'
    if any(word in ('ADD', 'MAINTAINER') for word,_ in words): yield 'ADD and MAINTAINER are not for here'
    if any('apt-get install' in rest and ('--no-install-recommends' not in rest or 'rm -rf /var/lib/apt/lists' not in rest) for _,rest in words): yield 'apt-get leaves more behind than it must'
    if any('sudo' in rest or ' latest' in rest for _,rest in words): yield 'sudo, or a version called latest'
    if any('|' in rest.replace('||', '') for word,rest in words if word=='RUN') and not any(word=='SHELL' and 'pipefail' in rest for word,rest in words): yield 'a pipe without pipefail'
    for word in ('ENTRYPOINT', 'CMD'):
        if not any(w==word and rest.startswith('[') for w,rest in words): yield f'{word} is not a list'

def problems():
    cfg = settings()
    for why in container(read('Dockerfile')): yield f'Dockerfile: {why}'
    have = {k.removesuffix('_requirements') for k in cfg if k.endswith('_requirements')}
    for name in ('Dockerfile', 'environment.yml', 'README.md', 'nbs/72_hub.ipynb', 'pvg/watch.py', 'pvg/hub.py', 'pvg/metrics/frame.py'):
        for group in re.findall(r'(?:pvg|source|-e \.)\[([a-z,]+)\]', read(name)):
            for extra in set(group.split(','))-have: yield f'{name}: there is no extra {extra}'
    yaml.safe_load(read('environment.yml'))
    for path in sorted([*(ROOT/'.github').rglob('*.y*ml')]):
        found = yaml.safe_load(path.read_text(encoding='utf-8'))
        if path.parent.name=='workflows' and not ({'jobs', 'permissions'} <= set(found)): yield f'{path.relative_to(ROOT)}: a workflow has jobs, and says what it may do'
        if path.parent.name=='ISSUE_TEMPLATE' and path.stem!='config' and not ({'name', 'description', 'body'} <= set(found)): yield f'{path.relative_to(ROOT)}: a template has a name, a description and a body'
        for script in re.findall(r'\.ci/(\w+\.py)', path.read_text(encoding='utf-8')):
            if not (ROOT/'.ci'/script).exists(): yield f'{path.relative_to(ROOT)}: there is no .ci/{script}'
    for hook in yaml.safe_load(read('.pre-commit-config.yaml'))['repos'][0]['hooks']:
        program = hook['entry'].split()[0]
        if not (shutil.which(program) or (Path(sys.executable).parent/program).exists()): yield f'.pre-commit-config.yaml: there is no program {program}'
    for line in read('MANIFEST.in').splitlines():
        for name in line.split()[1:] if line.startswith('include ') else []:
            if not (ROOT/name).exists(): yield f'MANIFEST.in: there is no {name}'

if __name__=='__main__':
    wrong = list(problems())
    print(*wrong, sep='\n', end='\n' if wrong else '')
    sys.exit(bool(wrong))
