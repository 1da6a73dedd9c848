"""The sidebar names every page exactly once, and nbs/nbdev.yml is what nbdev would write: `python .ci/pages.py`."""
import sys
from collections import Counter
from pathlib import Path

import yaml

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

def problems(root):
    "Every line of complaint about the pages of the project at `root`"
    nbs = root/'nbs'
    read = lambda name: yaml.safe_load((nbs/name).read_text(encoding='utf-8'))
    named = Counter(names(read('sidebar.yml')['website']['sidebar']['contents']))
    there = set(pages(nbs))
    for page in sorted(there-set(named)): yield f'nbs/{page}: not in nbs/sidebar.yml'
    for page in sorted(set(named)-there): yield f'nbs/sidebar.yml: {page} does not exist'
    for page,count in named.items():
        if count>1: yield f'nbs/sidebar.yml: {page} stands there {count} times'
    from nbdev.config import get_config
    from nbdev.quarto import _nbdev_yml
    cfg = get_config()
    want = _nbdev_yml.format(doc_path=cfg.doc_path.name, **{k:cfg[k] for k in 'title description branch git_url doc_host doc_baseurl'.split()})
    if (nbs/'nbdev.yml').read_text(encoding='utf-8')!=want: yield 'nbs/nbdev.yml: settings.ini says otherwise: run `make prepare`'
    link = nbs/'_quarto.yml'
    if not link.exists() or link.resolve()!=(root/'_quarto.yml').resolve(): yield 'nbs/_quarto.yml: must be a link to ../_quarto.yml'
    elif read('_quarto.yml').get('metadata-files')!=['nbdev.yml', 'sidebar.yml']: yield '_quarto.yml: metadata-files must be nbdev.yml and sidebar.yml'

if __name__=='__main__':
    wrong = list(problems(Path('.').resolve()))
    print(*wrong, sep='\n', end='\n' if wrong else '')
    sys.exit(bool(wrong))
