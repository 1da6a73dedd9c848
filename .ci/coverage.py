"""How much of pvg is documented: `python .ci/coverage.py`.

Every public symbol has a docstring, every parameter of a public function or class a comment behind it, and every symbol is used in
a cell that is not exported: an example, or its test. Nothing may lack any of the three; what does is named.
"""
import ast, re, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import cells, pages, text # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

def public(tree):
    "Name, definition of every public function and class of a module, methods added by @patch included"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'): yield node.name,node

def parameters(node):
    "The parameters that need a comment"
    made = node
    if isinstance(node, ast.ClassDef): made = next((o for o in node.body if isinstance(o, ast.FunctionDef) and o.name=='__init__'), None)
    if made is None: return []
    a = made.args
    return [o for o in [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])] if o.arg not in ('self', 'cls')]

def documented(parameter, lines):
    "Is there a comment on the parameter's line, or on one that its default goes on to?"
    return '#' in lines[parameter.lineno-1]

def symbols(path):
    "(name, line, what is missing) of a module's public symbols"
    source = path.read_text(encoding='utf-8')
    lines = source.splitlines()
    for name,node in public(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.args.args and re.match(r'_|.*[.|]_', ast.unparse(node.args.args[0].annotation or ast.Constant(''))): continue # a method of a private class
        lacks = [] if ast.get_docstring(node) else ['docstring']
        lacks += [f'comment on {o.arg}' for o in parameters(node) if not documented(o, lines)]
        yield name,node.lineno,lacks

def examples():
    "Every word in a cell that is not exported"
    out = set()
    for page in pages(ROOT/'nbs'):
        path = ROOT/'nbs'/page
        if path.suffix!='.ipynb': continue
        for cell in cells(path):
            if cell['cell_type']=='code' and not re.search(r'(?m)^#\|\s*exporti?\b', text(cell)): out |= set(re.findall(r'[A-Za-z_]\w*', text(cell)))
    return out

def main():
    shown,lacking,count,bare = examples(),[],0,[]
    for path in sorted((ROOT/'pvg').rglob('*.py')):
        if path.name in ('__init__.py', '_modidx.py'): continue
        module = path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')
        for name,line,lacks in symbols(path):
            count += 1
            lacking += [f'{path.relative_to(ROOT)}:{line}: {name} lacks a {o}' for o in lacks]
            if name not in shown: bare.append(f'{path.relative_to(ROOT)}:{line}: {module}.{name} is used in no example or test')
    print(*lacking, *bare, sep='\n', end='\n' if lacking or bare else '')
    print(f'  {count} public symbols; {len(lacking)} docstrings and comments lacking, {len(bare)} without an example of their own')
    return bool(lacking or bare)

if __name__=='__main__': sys.exit(main())
