"""The documentation site, as `nbdev_docs` makes it, but for the signatures: `python .ci/docs.py`, or `--pages` without Quarto.

nbdev prints a signature from what Python knows of it: a default is its whole `repr`, comments of dataclasses are lost, names in
comments become links, which code cannot show, and of two symbols with one name all links lead to the last. Here a signature is what
stands in the library's source. README.md is left alone: `.ci/readme.py` makes it. `--pages` leaves what Quarto would get in _proc.
"""
import ast, importlib, inspect, re, shutil, subprocess, sys, textwrap
from functools import reduce

from nbdev import processors, quarto, showdoc
from nbdev.doclinks import NbdevLookup

def head(node, lines):
    "A function as far as its body, without the type that says only which class a method belongs to"
    first,last = node.lineno-1,node.body[0].lineno-1
    kept = lines[first:last] or [lines[first][:node.body[0].col_offset]]
    kept[0] = re.sub(r'\(self:[\w.]+', '(self', kept[0])
    return [o.rstrip() for o in kept if o.strip()]

def class_head(node, lines):
    "A class: its fields, or how it is made"
    bases = [ast.unparse(o) for o in node.bases]
    fields = [o for o in node.body if isinstance(o, ast.AnnAssign)]
    made = next((o for o in node.body if isinstance(o, ast.FunctionDef) and o.name=='__init__'), None)
    inside = head(made, lines) if made else [l for o in fields for l in lines[o.lineno-1:o.end_lineno]]
    return [f'class {node.name}({", ".join(bases)}):' if bases else f'class {node.name}:', *(inside or ['    ...'])]

def signature(symbol):
    "What the source says of how a symbol is called"
    source = textwrap.dedent(inspect.getsource(symbol))
    node,lines = ast.parse(source).body[0],source.splitlines()
    return '\n'.join(class_head(node, lines) if isinstance(node, ast.ClassDef) else head(node, lines))

class Entry(showdoc.BasicMarkdownRenderer):
    "The entry of a symbol of ours, taken from the library and not from the cell that was run"
    module = None                                                      # that of the notebook at hand, 'data.store'
    def __init__(self, sym, name=None, title_level=3):
        super().__init__(sym, name, title_level)
        if Entry.module:
            ours = reduce(getattr, self.nm.split('.'), importlib.import_module(f'pvg.{Entry.module}'))
            self.sym,self.fn = inspect.unwrap(getattr(ours, 'fget', ours)),self.nm
        self.dm = signature(self.sym)

class exec_show_docs(processors.exec_show_docs):
    "Runs what entries need, and tells them of which module they are"
    def begin(self):
        super().begin()
        Entry.module = next((c.directives_['default_exp'][0] for c in self.nb.cells if 'default_exp' in (c.directives_ or {})), None)

class Lookup(NbdevLookup):
    "Of symbols with the same name, that of the notebook at hand comes first"
    def __getitem__(self, name): return super().__getitem__(f'pvg.{Entry.module}.{name}') or super().__getitem__(name)

def add_links(cell):
    "Names of ours become links, but not in code"
    lookup = Lookup()
    if cell.cell_type=='markdown': cell.source = lookup.linkify(cell.source)
    for o in cell.get('outputs', []):
        if 'text/markdown' in getattr(o, 'data', {}): o.data['text/markdown'] = lookup.linkify(''.join(o.data['text/markdown'])).splitlines(keepends=True)

def process():
    "What Quarto gets, in _proc"
    showdoc.BasicMarkdownRenderer,showdoc.NbdevLookup = Entry,Lookup
    processors.exec_show_docs,processors.add_links = exec_show_docs,add_links
    return quarto._pre_docs(n_workers=0)                               # in one process: PyTorch is imported once, and these classes are known

def main():
    if '--pages' in sys.argv: quarto._ensure_quarto = lambda: None     # which would fetch it
    cache,cfg,_ = process()
    if '--pages' in sys.argv: return
    subprocess.run(['quarto', 'render', '--no-cache'], cwd=cache, check=True)
    shutil.rmtree(cfg.doc_path, ignore_errors=True)
    shutil.move(cache/cfg.doc_path.name, cfg.config_path)

if __name__=='__main__': main()
