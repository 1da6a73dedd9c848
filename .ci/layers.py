"""Which way imports run: `python .ci/layers.py` names every import that points up, and every module nobody owns.

Numbers decide: a notebook, its test cells included, imports only from notebooks with a lower number. Numbers are
unique, so a cycle is impossible. The table of layers is explained in CONTRIBUTING.md.
"""
import ast, json, re, sys
from pathlib import Path

PACKAGE = 'pvg'
GENERATED = {'', '_modidx'}                                            # pvg/__init__.py and pvg/_modidx.py have no notebook
MAY_TRAIN = {'data.clips', 'critic', 'compiled', 'recorded', 'recompute', 'optimizer', 'parallel', 'callbacks', 'discover', 'learner', 'runs', 'watch', 'recipe', 'warm_start', 'possible', 'mend'} # the only modules that import fastai
ONLY_IN = {'fastai': MAY_TRAIN, 'anywidget': {'play.panel'}, 'onnx': {'export.onnx'}, 'onnxruntime': {'export.onnx'}, 'huggingface_hub': {'hub'},
           'nbdev': set(), 'execnb': set()}                            # third-party package -> modules that may import it
NEVER = {'losses': ('model', 'checkpoint')}                            # module (not its tests) -> our modules it must not see, whatever the number


def module_name(path, root):
    "`pvg/data/store.py` -> `data.store`; a package's `__init__.py` -> the package"
    parts = path.relative_to(root).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1]=='__init__' else parts)

def imports(source, module, package=PACKAGE, is_package=False):
    "Every dotted name imported anywhere in `source`, relative ones made absolute, with its line"
    here = [package, *module.split('.')] if module else [package]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for name in node.names: yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            cut = node.level - (1 if is_package else 0)
            base = here[:len(here)-cut] if node.level else []
            start = '.'.join(base + ([node.module] if node.module else []))
            for name in node.names: yield f'{start}.{name.name}', node.lineno
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            called = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            if called in ('import_module', '__import__'): yield node.args[0].value, node.lineno

def ours(name, modules):
    "The longest of our `modules` that the dotted `name` starts with, or None"
    parts = name.split('.')
    if parts[0]!=PACKAGE: return None
    tries = ('.'.join(parts[1:i]) for i in range(len(parts), 1, -1))
    return next((t for t in tries if t in modules), '.'.join(parts[1:]) if len(parts)>1 else '')

def code(notebook):
    "The notebook's code as one text that Python can parse: magics and shell lines are left out"
    cells = [''.join(c['source']) for c in notebook['cells'] if c['cell_type']=='code']
    cells = [c for c in cells if not c.lstrip().startswith('%%')]
    return '\n'.join(re.sub(r'(?m)^(\s*)[%!].*$', r'\1pass', c) for c in cells)

def read_notebooks(nbs):
    "Module name -> (number, notebook) for each numbered notebook, and what is wrong with their names"
    found,wrong = {},[]
    for path in sorted(nbs.rglob('*.ipynb')):
        rel = path.relative_to(nbs)
        if any(p.startswith(('.', '_')) for p in rel.parts): continue
        if 'auto' in path.stem: wrong.append(f'{rel}: no notebook name may contain "auto": nbdev would drop its table of symbols')
        nb = json.loads(path.read_text(encoding='utf-8'))
        exp = re.search(r'(?m)^#\|\s*default_exp\s+(\S+)', code(nb))
        number = re.match(r'(\d+)_', rel.name)
        if not exp:
            if number: wrong.append(f'{rel}: is numbered but has no `#| default_exp`')
            continue
        name = exp[1]
        if not number or f'{number[1]}_{name}.ipynb'!=str(rel):
            wrong.append(f'{rel}: exports {name}, so it must be nbs/NN_{name}.ipynb')
            continue
        if name in found: wrong.append(f'{rel}: {found[name][1]} exports {name} already')
        if twin := [str(n) for i,n in found.values() if i==int(number[1])]: wrong.append(f'{rel}: has the number of {twin[0]}')
        found[name] = int(number[1]), rel
    return found,wrong

def check_imports(source, name, notebooks, where, modules, exported=True, is_package=False):
    "What is wrong with the imports of one module, or of one notebook"
    number = notebooks[name][0]
    for target,line in imports(source, name, is_package=is_package):
        top = target.split('.')[0]
        if exported and name not in ONLY_IN.get(top, {name}):
            allowed = ', '.join(sorted(ONLY_IN[top])) or 'no module'
            yield f'{where}:{line}: imports {top}, which {allowed} may'
        mine = ours(target, modules)
        if not mine or (mine==name and not exported): continue
        if mine not in notebooks:
            if mine in modules and not any(n.startswith(f'{mine}.') for n in notebooks): yield f'{where}:{line}: imports {PACKAGE}.{mine}, which has no notebook'
            elif mine not in modules and '.' not in mine and mine.startswith('__'): continue
            elif mine not in modules: yield f'{where}:{line}: imports {PACKAGE}.{mine}, which does not exist'
        elif notebooks[mine][0] >= number: yield f'{where}:{line}: {name} ({number:02}) imports {mine} ({notebooks[mine][0]:02}): imports run from lower numbers only'
        elif exported and any(mine==n or mine.startswith(f'{n}.') for n in NEVER.get(name, ())): yield f'{where}:{line}: {name} must not import {mine}'

def problems(root):
    "Every line of complaint about the project at `root`"
    package = root/PACKAGE
    notebooks,wrong = read_notebooks(root/'nbs')
    files = {module_name(p, package):p for p in sorted(package.rglob('*.py'))}
    packages = {n for n,p in files.items() if p.name=='__init__.py'}
    for name in notebooks:
        if any(o.startswith(f'{name}.') for o in notebooks): wrong.append(f'{notebooks[name][1]}: {name} would be a module and a package: rename one')
        if name not in files: wrong.append(f'{notebooks[name][1]}: {PACKAGE}/{name.replace(".", "/")}.py is missing: run nbdev_export')
    for path in package.rglob('*.py'):
        if path.with_suffix('').is_dir(): wrong.append(f'{path.relative_to(root)}: a module and a package share this name')
    for name,path in files.items():
        where = path.relative_to(root)
        if name in notebooks: wrong += check_imports(path.read_text(encoding='utf-8'), name, notebooks, where, files, is_package=name in packages)
        elif name in packages:
            if {o for o,_ in imports(path.read_text(encoding='utf-8'), name, is_package=True)}-{'warnings'}: wrong.append(f'{where}: a package file imports nothing but warnings')
        elif name not in GENERATED: wrong.append(f'{where}: has no notebook')
    for name,(_,rel) in notebooks.items():
        source = code(json.loads((root/'nbs'/rel).read_text(encoding='utf-8')))
        try: wrong += check_imports(source, name, notebooks, f'nbs/{rel}', files, exported=False)
        except SyntaxError as e: wrong.append(f'nbs/{rel}: {e.msg}: {(e.text or "").strip()}')
    return len(notebooks), list(dict.fromkeys(str(w) for w in wrong))

if __name__=='__main__':
    count,wrong = problems(Path(sys.argv[1] if len(sys.argv)>1 else '.').resolve())
    print(*wrong, sep='\n', end='\n' if wrong else '')
    print(f'{count} modules, {len(wrong)} problems')
    sys.exit(bool(wrong))
