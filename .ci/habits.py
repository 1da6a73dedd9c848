"""Files around the package agree with it: `python .ci/habits.py`. Versions, extras, the container's rules, workflows, templates, the size of a clone."""
import ast, re, shutil, subprocess, sys
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

NEWER = {'tomllib': 3.11, 'datetime.UTC': 3.11, 'enum.StrEnum': 3.11, 'typing.Self': 3.11, 'typing.assert_never': 3.11, 'typing.LiteralString': 3.11, 'contextlib.chdir': 3.11,
         'hashlib.file_digest': 3.11, 'asyncio.timeout': 3.11, 'asyncio.TaskGroup': 3.11, 'asyncio.Runner': 3.11, 'math.cbrt': 3.11, 'math.exp2': 3.11, 'operator.call': 3.11, 'ExceptionGroup': 3.11,
         'itertools.batched': 3.12, 'typing.override': 3.12, 'math.sumprod': 3.12, 'shutil.rmtree(onexc)': 3.12, 'os.process_cpu_count': 3.13, 'copy.replace': 3.13, 'warnings.deprecated': 3.13} # what Python got after 3.10

def too_new(source, least):
    "What a module needs of a newer Python than `least`, such as (3, 10): its grammar, and names of the standard library"
    try: tree = ast.parse(source, feature_version=least)
    except SyntaxError as e: yield f'line {e.lineno}: {e.msg}'; return
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Import): found = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom): found = [node.module or '', *(f'{node.module}.{a.name}' for a in node.names)]
        elif isinstance(node, ast.Attribute): found = [ast.unparse(node)]
        elif isinstance(node, ast.Name): found = [node.id]
        elif isinstance(node, ast.Call): found = [f'{ast.unparse(node.func)}({k.arg})' for k in node.keywords]
        yield from (f'line {node.lineno}: {o} is of Python {NEWER[o]}' for o in found if o in NEWER and NEWER[o]>float(f'{least[0]}.{least[1]}'))

def python_problems(least, classifiers):
    "Modules that ask for a newer Python than the settings say, and workflows that leave one out"
    for path in sorted([*(ROOT/'pvg').rglob('*.py'), *(ROOT/'.ci').glob('*.py')]):
        yield from (f'{path.relative_to(ROOT)}: {o}' for o in too_new(path.read_text(encoding='utf-8'), least))
    tested = yaml.safe_load(read('.github/workflows/test.yaml'))['jobs']['test']['strategy']['matrix']['python']
    for version in classifiers:
        if version not in tested: yield f'.github/workflows/test.yaml: Python {version} is promised and not tested'

def clone_problems(most=40):
    "A repository whose clone, history and files together, has more than so many megabytes"
    git = lambda *args: subprocess.run(['git', *args], cwd=ROOT, capture_output=True, text=True)
    history,files = git('rev-list', '--disk-usage', '--objects', 'HEAD'),git('ls-files', '-z')
    if history.returncode or files.returncode: return                  # not a clone: the files of an sdist
    size = (int(history.stdout)+sum((ROOT/o).stat().st_size for o in files.stdout.split('\0') if o and (ROOT/o).is_file()))/1e6
    print(f'  a clone has {size:.0f} MB')
    if size>most: yield f'a clone of this repository has {size:.0f} MB, more than {most}: which file is large? git ls-files -z | xargs -0 du -k | sort -n | tail'

def problems():
    cfg = settings()
    yield from clone_problems()
    least = tuple(map(int, cfg['min_python'].split('.')))
    yield from python_problems(least, [f'3.{n}' for n in range(least[1], 14)])
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
        found = re.fullmatch(r"""sh -c 'PATH="\$PWD/\.venv/bin:\$PATH" (\S+).*'""", hook['entry'])
        if not found: yield f'.pre-commit-config.yaml: {hook["id"]} does not look into .venv: a commit fails where no environment is active'
        elif not (shutil.which(found[1]) or (Path(sys.executable).parent/found[1]).exists()): yield f'.pre-commit-config.yaml: there is no program {found[1]}'
    for line in read('MANIFEST.in').splitlines():
        for name in line.split()[1:] if line.startswith('include ') else []:
            if not (ROOT/name).exists(): yield f'MANIFEST.in: there is no {name}'

if __name__=='__main__':
    wrong = list(problems())
    print(*wrong, sep='\n', end='\n' if wrong else '')
    sys.exit(bool(wrong))
