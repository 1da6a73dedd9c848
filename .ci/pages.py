"""The pages of the site, as far as they can be checked without Quarto: `python .ci/pages.py`.

The sidebar names every page exactly once; nbs/nbdev.yml is what nbdev would write; _quarto.yml has keys that Quarto knows;
every link to a page, heading, file or picture of ours leads somewhere, in notebooks, README.md and CONTRIBUTING.md; names of
pvg's symbols in the text are symbols that there are; no page is without a picture or an example.
"""
import ast, builtins, json, re, sys
from collections import Counter
from pathlib import Path

import yaml

FENCE = re.compile(r'^(```+|~~~+).*?^\1\s*$', re.S|re.M)
INLINE = re.compile(r'(`+)(?!`).+?(?<!`)\1(?!`)', re.S)
LINK = re.compile(r'\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)')
ATTRIBUTE = re.compile(r'\b(?:src|href)="([^"]+)"')
BUILT = {'play/index.html'}                                            # made by `make docs`, beside the pages
KNOWN = {                                                              # of Quarto 1.x, what this project may use
    'project': {'type', 'preview', 'output-dir', 'render', 'resources'}, 'format': {'html', 'commonmark'},
    'website': {'title', 'description', 'image', 'favicon', 'site-url', 'repo-url', 'repo-branch', 'repo-subdir', 'repo-actions', 'twitter-card', 'open-graph', 'page-navigation', 'navbar',
                'sidebar', 'search', 'bread-crumbs', 'back-to-top-navigation', 'page-footer', 'reader-mode'},
    'metadata-files': None, 'execute': {'enabled', 'freeze', 'cache'}, 'lang': None}
KNOWN_HTML = {'theme', 'css', 'toc', 'toc-depth', 'keep-md', 'code-copy', 'code-fold', 'code-overflow', 'code-tools', 'anchor-sections', 'smooth-scroll', 'include-in-header', 'grid', 'highlight-style'}

def names(items):
    "Every page in a sidebar's `contents`, sections opened"
    for item in items:
        if isinstance(item, str): yield item
        else:
            for key in ('href', 'file'):
                if key in item: yield item[key]
            yield from names(item.get('contents', []))

def pages(nbs):
    "Every notebook and .qmd that becomes a page"
    for path in sorted([*nbs.rglob('*.ipynb'), *nbs.rglob('*.qmd')]):
        rel = path.relative_to(nbs)
        if not any(p.startswith(('.', '_')) for p in rel.parts): yield rel.as_posix()

def cells(path):
    "The cells of a notebook, or a text file as one"
    if path.suffix=='.ipynb': return json.loads(path.read_text(encoding='utf-8'))['cells']
    return [dict(cell_type='markdown', source=path.read_text(encoding='utf-8'))]

def text(cell): return ''.join(cell['source'])

def prose(path):
    "The markdown of a page"
    return '\n\n'.join(text(c) for c in cells(path) if c['cell_type']=='markdown')

def without_code(markdown): return INLINE.sub('', FENCE.sub('', markdown))

def heading_id(heading):
    "What pandoc calls a heading"
    heading = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', re.sub(r'[`*]', '', heading)).lower()
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', heading).strip()))

def heading_places(markdown):
    "What the headings of a page are called, those that come twice numbered"
    found,seen = set(),Counter()
    for heading in re.findall(r'^#{1,6}\s+(.+?)\s*$', FENCE.sub('', markdown), flags=re.M):
        named = re.search(r'\{#([\w.-]+)[^}]*\}\s*$', heading)
        name = named[1] if named else heading_id(heading)
        found.add(f'{name}-{seen[name]}' if seen[name] else name)
        seen[name] += 1
    return found

def symbols(root):
    "Name -> page and anchor of every symbol, as nbdev wrote them down"
    tree = ast.parse((root/'pvg/_modidx.py').read_text(encoding='utf-8'))
    found = next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id=='d')
    return {name: place[0] for module in found['syms'].values() for name,place in module.items()}

def link_problems(path, root, known):
    "Links of a page that lead nowhere"
    here = path.relative_to(root).as_posix()
    markdown = without_code(prose(path))
    for target in [*LINK.findall(markdown), *ATTRIBUTE.findall(markdown)]:
        if re.match(r'[a-z][a-z0-9+.-]*:|//', target): continue
        file,_,anchor = target.partition('#')
        goal = (path.parent/file).resolve() if file else path
        if file and file in BUILT: continue
        if not goal.exists(): yield f'{here}: the link to {target} leads nowhere' + (': link to the notebook, its page drops the number' if file.endswith('.html') else '')
        elif not goal.is_relative_to(root): yield f'{here}: the link to {target} leads out of the project'
        elif anchor and goal.suffix in ('.ipynb', '.qmd', '.md'):
            if goal not in known: known[goal] = heading_places(prose(goal))
            own = {a for place in known['symbols'].values() for p,_,a in [place.partition('#')] if p==re.sub(r'^\d+[a-zA-Z0-9]*_', '', goal.name).replace('.ipynb', '.html')}
            if anchor not in known[goal]|own: yield f'{here}: {file or "this page"} has no heading #{anchor}'

def symbol_problems(path, root, known):
    "Full names of ours, in the text or imported in an example, that do not exist"
    here,have = path.relative_to(root).as_posix(),set(known['symbols'])
    modules = {'pvg'} | {m for s in have for m in ['.'.join(s.split('.')[:k]) for k in range(2, s.count('.')+1)]} | known['modules']
    markdown = prose(path)
    for name in re.findall(r'`(pvg(?:\.[A-Za-z_]\w*)+)(?:\(\))?`', markdown):
        if name not in have|modules and not name.endswith(('.json', '.yml')): yield f'{here}: there is no {name}'
    for fence in FENCE.finditer(markdown):
        for module,imported in re.findall(r'^\s*from (pvg[\w.]*) import ([\w, ]+)', fence[0], flags=re.M):
            for name in (o.split(' as ')[0].strip() for o in imported.split(',')):
                if name and f'{module}.{name}' not in have|modules: yield f'{here}: an example imports {name} from {module}, where it is not'

def emptiness(path, root):
    "A page that shows nothing"
    if path.suffix!='.ipynb': return
    shown = [c for c in cells(path) if c['cell_type']=='code' and '#| hide' not in text(c)]
    if not shown and not re.search(r'!\[|<img|<iframe', prose(path)): yield f'{path.relative_to(root).as_posix()}: a page without a picture or an example'
    for i,c in enumerate(cells(path)):
        if c['cell_type']=='code' and any(o['output_type']=='error' for o in c.get('outputs', [])): yield f'{path.relative_to(root).as_posix()}: cell {i} shows an error'

def import_problems(path, root):
    "Cells that import and do more than that: for the reference nbdev runs such cells without those before them"
    if path.suffix!='.ipynb': return
    found = [text(c) for c in cells(path) if c['cell_type']=='code']
    if not any(re.match(r'#\|\s*default_exp', o) for o in found): return
    for source in found:
        if re.search(r'(?m)^#\|\s*(exporti?|exec_doc|eval)\b', source): continue
        nodes = list(ast.walk(ast.parse(re.sub(r'(?m)^(\s*)[%!].*$', r'\1pass', source))))
        got = {(a.asname or a.name).split('.')[0] for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
        wants = {n.id for n in nodes if isinstance(n, ast.Name)}-got-set(dir(builtins))
        if got and wants: yield f'{path.relative_to(root).as_posix()}: a cell imports {", ".join(sorted(got))[:60]} and does more: imports have a cell of their own, at the top'

def quarto_problems(config):
    "Keys of _quarto.yml that Quarto does not know"
    for key,value in config.items():
        if key not in KNOWN: yield f'_quarto.yml: Quarto has no key {key}'
        elif KNOWN[key] is not None:
            for inner in set(value)-KNOWN[key]: yield f'_quarto.yml: {key} has no key {inner}'
    html = (config.get('format') or {}).get('html')
    if isinstance(html, dict):
        for inner in set(html)-KNOWN_HTML: yield f'_quarto.yml: format html has no key {inner}'

def sidebar_problems(root, nbs, read):
    "Pages that the sidebar lacks or invents"
    named = Counter(names(read('sidebar.yml')['website']['sidebar']['contents']))
    there = set(pages(nbs))
    for page in sorted(there-set(named)): yield f'nbs/{page}: not in nbs/sidebar.yml'
    for page in sorted(set(named)-there): yield f'nbs/sidebar.yml: {page} does not exist'
    for page,count in named.items():
        if count>1: yield f'nbs/sidebar.yml: {page} stands there {count} times'

def config_problems(root, nbs, read):
    "Settings that disagree"
    from nbdev.config import get_config
    from nbdev.quarto import _nbdev_yml
    cfg = get_config()
    want = _nbdev_yml.format(doc_path=cfg.doc_path.name, **{k:cfg[k] for k in 'title description branch git_url doc_host doc_baseurl'.split()})
    if (nbs/'nbdev.yml').read_text(encoding='utf-8')!=want: yield 'nbs/nbdev.yml: settings.ini says otherwise: run `make prepare`'
    link = nbs/'_quarto.yml'
    if not link.exists() or link.resolve()!=(root/'_quarto.yml').resolve(): yield 'nbs/_quarto.yml: must be a link to ../_quarto.yml'
    elif read('_quarto.yml').get('metadata-files')!=['nbdev.yml', 'sidebar.yml']: yield '_quarto.yml: metadata-files must be nbdev.yml and sidebar.yml'
    yield from quarto_problems(read('_quarto.yml'))
    image = (read('_quarto.yml').get('website') or {}).get('image')
    if image and not (nbs/image).exists(): yield f'_quarto.yml: there is no picture nbs/{image}'

def problems(root):
    "Every line of complaint about the pages of the project at `root`"
    nbs = root/'nbs'
    read = lambda name: yaml.safe_load((nbs/name).read_text(encoding='utf-8'))
    yield from sidebar_problems(root, nbs, read)
    yield from config_problems(root, nbs, read)
    modules = {p.relative_to(root).with_suffix('').as_posix().replace('/', '.').removesuffix('.__init__') for p in (root/'pvg').rglob('*.py')}
    known = dict(symbols=symbols(root), modules=modules)
    for path in [*(nbs/p for p in pages(nbs)), root/'README.md', root/'CONTRIBUTING.md', root/'CHANGELOG.md']:
        yield from link_problems(path, root, known)
        yield from symbol_problems(path, root, known)
        yield from emptiness(path, root)
        yield from import_problems(path, root)

if __name__=='__main__':
    wrong = list(problems(Path(__file__).resolve().parent.parent))
    print(*wrong, sep='\n', end='\n' if wrong else '')
    sys.exit(bool(wrong))
