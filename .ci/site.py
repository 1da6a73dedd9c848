"""The pages as Quarto gets them: `python .ci/site.py` makes them by `.ci/docs.py`, in a copy, and follows every link.

The reference is made by running exported cells and imports, and asking each symbol for its signature; a page where this fails would stop
the site. In what comes out, every link to a page, heading, picture, symbol or line of source leads there, every symbol has its
entry, nothing that was to be hidden is left, and pages made from the code say what it says now. Quarto itself is not needed, and is
not fetched, as nbdev would do.
"""
import ast, json, os, re, shutil, subprocess, sys, tempfile
from collections import Counter
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pages import ATTRIBUTE, BUILT, FENCE, LINK, heading_places, names, symbols, text, without_code # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

def processed(folder):
    "Processed pages of a copy of the project"
    for name in ('nbs', 'pvg'): shutil.copytree(ROOT/name, folder/name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for name in ('settings.ini', 'pyproject.toml', '_quarto.yml'): shutil.copy(ROOT/name, folder/name)
    env = {**os.environ, 'PYTHONPATH': str(folder), 'MPLBACKEND': 'Agg'}
    done = subprocess.run([sys.executable, ROOT/'.ci/docs.py', '--pages'], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode: sys.exit('\n'.join(done.stdout.splitlines()[-25:])+'\n.ci/site.py: nbdev cannot process the pages: see above')
    return folder/'_proc'

def front(cells):
    "What the first cell says of the page"
    if not cells or cells[0]['cell_type']!='raw': return {}
    return next((o for o in yaml.safe_load_all(text(cells[0]).strip().strip('-')) if o), {}) or {}

def cells_of(path):
    "The cells of a processed page; a text file is one"
    return json.loads(path.read_text(encoding='utf-8'))['cells'] if path.suffix=='.ipynb' else [dict(cell_type='markdown', source=path.read_text(encoding='utf-8'))]

def shown(cell):
    "What outputs show as Markdown or HTML"
    data = [o.get('data', {}) for o in cell.get('outputs', [])]
    return '\n\n'.join(''.join(o[kind]) for o in data for kind in ('text/markdown', 'text/html') if kind in o)

class Page:
    "A page: its address on the site, its text with what cells put out, and the places in it"
    def __init__(self, path, root):
        self.path,self.cells = path,cells_of(path)
        self.name = (path.relative_to(root).parent/front(self.cells).get('output-file', path.stem+'.html')).as_posix()
        self.prose = '\n\n'.join(text(c) for c in self.cells if c['cell_type']=='markdown')
        self.out = '\n\n'.join(map(shown, self.cells))
        self.links = [o for part in (without_code(self.prose), FENCE.sub('', self.out)) for find in (LINK, ATTRIBUTE) for o in find.findall(part)]
        self.places = heading_places(self.prose+'\n\n'+self.out) | set(re.findall(r'\bid="([^"]+)"', self.prose+self.out))

def source_problem(target):
    "Why a link to a file of ours, or to a line in it, does not lead to a definition"
    file,_,line = target.partition('#L')
    if not (ROOT/file).is_file(): return f'there is no file {file}'
    lines = (ROOT/file).read_text(encoding='utf-8').splitlines() if line else ()
    if line and not (int(line)<=len(lines) and re.match(r'\s*(@|def |class |async def )', lines[int(line)-1])): return f'line {line} of {file} defines nothing'

def link_problem(page, target, pages, own, source):
    "Why a link leads nowhere, or `None`"
    if target.startswith(source): return source_problem(target[len(source):])
    if target.startswith(own): path,place = target[len(own):].partition('#')[::2]
    elif re.match(r'[a-z][a-z0-9+.-]*:|//', target): return
    else:
        file,_,place = target.partition('#')
        goal = (page.path.parent/file).resolve() if file else page.path
        if file in BUILT: return
        if not goal.exists(): return f'{target} leads nowhere'
        path = next((o.name for o in pages.values() if o.path.resolve()==goal.resolve()), None)
        if path is None: return
    if path not in pages and path not in BUILT: return f'{target}: the site has no page {path}'
    if place and place not in pages[path].places: return f'{target}: {path} has no place #{place}'

def links_in_code(markdown):
    "Lines of code blocks that hold a Markdown link to our pages, which code shows as it is"
    return [line for fence in FENCE.finditer(markdown) for line in fence[0].splitlines() if re.search(r'\]\(https?://', line)]

def leftovers(page):
    "What should not have come this far"
    for cell in page.cells:
        source = text(cell)
        if cell['cell_type']!='code': continue
        if re.search(r'(?m)^#\|\s*(export|hide)\b', source): yield f'shows a cell that is not for readers: {source.splitlines()[0]}'
        if re.search(r'(?m)^show_doc\(', source) and not shown(cell): yield f'says nothing about {source.splitlines()[-1]}'
        for line in links_in_code(shown(cell)): yield f'shows the address of a link in code: {line.strip()[:120]}'
        if any(o['output_type']=='error' for o in cell.get('outputs', [])): yield f'shows an error: {source.splitlines()[0]}'

def unlinked(markdown): return re.sub(r'\[(`[^`]+`)\]\([^)]*\)', r'\1', markdown).strip()

def stale(proc):
    "Pages that are made from the code (`exec_doc`), and whose committed output says something else than the code does now"
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')):
        there = proc/path.relative_to(ROOT/'nbs')
        made = [unlinked(shown(c)) for c in cells_of(path) if c['cell_type']=='code' and re.search(r'(?m)^#\|\s*exec_doc', text(c))] if there.exists() else []
        fresh = {unlinked(shown(c)) for c in cells_of(there)} if any(made) else set()
        if any(o and o not in fresh for o in made): yield f'nbs/{path.relative_to(ROOT/"nbs")}: shows what the code said once: run `make prepare` and commit the result'

def entries():
    "Name and place of every public symbol that has an entry of its own: what stands in a class is told with it"
    inside = {f'{module_of(p)}.{c.name}.{o.name}' for p in (ROOT/'pvg').rglob('*.py') for c in ast.walk(ast.parse(p.read_text(encoding='utf-8'))) if isinstance(c, ast.ClassDef) for o in c.body if isinstance(o, ast.FunctionDef)}
    return {name: place for name,place in symbols(ROOT).items() if name not in inside and '._' not in name}

def module_of(path): return path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')

def problems(proc):
    "Every line of complaint"
    site = yaml.safe_load((proc/'nbdev.yml').read_text(encoding='utf-8'))['website']
    own,source = site['site-url'].rstrip('/')+'/',f"{site['repo-url']}/blob/{site['repo-branch']}/"
    found = [Page(p, proc) for p in sorted([*proc.rglob('*.ipynb'), *proc.rglob('*.qmd')])]
    pages = {o.name: o for o in found}
    there = {o.path.relative_to(proc).as_posix() for o in found}
    yield from (f'{o}: in the sidebar, but not processed' for o in names(yaml.safe_load((proc/'sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']) if o not in there)
    yield from stale(proc)
    for name,count in Counter(o.name for o in found).items():
        if count>1: yield f'{name}: {count} pages have this address'
    for page in found:
        here = page.path.relative_to(proc).as_posix()
        yield from (f'{here}: {o}' for o in leftovers(page))
        yield from (f'{here}: {why}' for target in dict.fromkeys(page.links) if (why := link_problem(page, target, pages, own, source)))
    for name,place in entries().items():
        path,_,anchor = place.partition('#')
        if path not in pages or anchor not in pages[path].places: yield f'{name}: has no entry at {place}'
    print(f'  {len(found)} pages, {sum(len(set(o.links)) for o in found)} links')

def main():
    with tempfile.TemporaryDirectory() as folder: wrong = list(problems(processed(Path(folder))))
    print(*wrong, sep='\n', end='\n' if wrong else '')
    return bool(wrong)

if __name__=='__main__': sys.exit(main())
