"""README.md from nbs/index.ipynb, without Quarto: `python .ci/readme.py` writes it, `--check` says whether it is in sync.

Markdown stays as it is, but for addresses: pages lead to the documentation site, pictures to nbs/. A code cell shows its
source and its text output; `#| hide` hides all of it, `#| echo: false` the source, `#| output: false` the output.
"""
import json, os, re, sys
from configparser import ConfigParser
from pathlib import Path

def settings(root):
    "settings.ini as a dict"
    parser = ConfigParser(delimiters=['='])
    parser.read(root/'settings.ini', encoding='utf-8')
    return dict(parser['DEFAULT'])

def page_address(target, site):
    "Where the documentation shows the page `target`: numbers are dropped from names, as nbdev drops them"
    path,hash_,anchor = target.partition('#')
    folder,_,name = path.rpartition('/')
    name = re.sub(r'^\d+[a-zA-Z0-9]*_', '', name).removesuffix('.ipynb').removesuffix('.qmd') + '.html'
    return f'{site}/{folder}/{name}{hash_}{anchor}' if folder else f'{site}/{name}{hash_}{anchor}'

def relink(text, root, site):
    "Relative addresses in a markdown cell of nbs/index.ipynb, as seen from README.md; code is left alone"
    def new(target):
        if re.match(r'[a-z]+:|#|/', target): return target
        path = target.partition('#')[0]
        if not (root/'nbs'/path).exists(): raise SystemExit(f'nbs/index.ipynb: the link to {target} leads nowhere')
        if path.endswith(('.ipynb', '.qmd')): return page_address(target, site)
        return os.path.normpath(f'nbs/{target}').replace(os.sep, '/')
    def outside(part):
        part = re.sub(r'(\]\()([^)\s]+)', lambda m: m[1]+new(m[2]), part)
        return re.sub(r'(\b(?:src|href)=")([^"]+)', lambda m: m[1]+new(m[2]), part)
    parts = re.split(r'(```.*?```|`[^`\n]*`)', text, flags=re.S)
    return ''.join(p if i%2 else outside(p) for i,p in enumerate(parts))

def output_text(output, number):
    "One cell output as markdown"
    if output['output_type']=='stream': return '```\n' + ''.join(output['text']).rstrip() + '\n```'
    data = {k:''.join(v) for k,v in output.get('data', {}).items()}
    if 'text/markdown' in data: return data['text/markdown'].strip()
    if any(k.startswith('image/') for k in data):
        raise SystemExit(f'nbs/index.ipynb, cell {number}: save the picture under nbs/images and show it from a markdown cell: README.md cannot hold it')
    if 'text/plain' in data: return '```\n' + data['text/plain'].rstrip() + '\n```'
    raise SystemExit(f'nbs/index.ipynb, cell {number}: an output that README.md cannot show: {", ".join(data) or output["output_type"]}')

def cell_parts(cell, number, fix):
    "A cell as pieces of markdown, `fix` applied to what is markdown already"
    source = ''.join(cell['source']).strip()
    if cell['cell_type']=='markdown': return [fix(source)]
    if cell['cell_type']!='code': return []
    flags = [l[2:].strip() for l in source.splitlines() if l.startswith('#|')]
    if 'hide' in flags or 'include: false' in flags: return []
    source = '\n'.join(l for l in source.splitlines() if not l.startswith('#|')).strip()
    parts = [f'```python\n{source}\n```'] if source and 'echo: false' not in flags else []
    if 'output: false' in flags: return parts
    return parts + [output_text(o, number) for o in cell.get('outputs', [])]

def readme(root):
    "The text of README.md"
    cfg = settings(root)
    nb = json.loads((root/'nbs/index.ipynb').read_text(encoding='utf-8'))
    fix = lambda text: relink(text, root, cfg['doc_host']+cfg['doc_baseurl'])
    parts = [p for i,c in enumerate(nb['cells']) for p in cell_parts(c, i, fix)]
    head = '<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook, not this file -->\n\n'
    return head + '\n\n'.join(p for p in parts if p) + '\n'

if __name__=='__main__':
    root = Path(__file__).resolve().parent.parent
    path,text = root/'README.md',readme(root)
    if '--check' not in sys.argv: path.write_text(text, encoding='utf-8')
    elif not path.exists() or path.read_text(encoding='utf-8')!=text: sys.exit('README.md is not in sync with nbs/index.ipynb: run `make readme`')
