"""Bounds of what pvg requires: `python .ci/requirements.py` checks them, `--write` keeps the installed releases as the tested ones.

Every requirement of settings.ini has a lower bound, and `.ci/tested.txt` names the release of it with which everything was run last (extras that are not installed have none). That release is
within the bounds, so an upper bound is always one that was tested.
"""
import argparse, configparser, re, sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
TESTED = ROOT/'.ci'/'tested.txt'

def required():
    "What the package requires, and what its extras for users add"
    found = configparser.ConfigParser()
    found.read(ROOT/'settings.ini')
    read = lambda *keys: [Requirement(o) for k in keys for o in found['DEFAULT'][k].split()]
    return read('requirements'),read('eval_requirements', 'hub_requirements', 'track_requirements')

def installed(name):
    "The public part of a release's number, or nothing"
    try: return version(name).partition('+')[0]
    except PackageNotFoundError: return ''

def problems(wanted, extras, tested):
    "What is wrong, a line each"
    for o in wanted+extras:
        if not any(s.operator in ('>=','==','~=') for s in o.specifier): yield f'settings.ini: {o.name} has no lower bound'
        if o.name in tested and tested[o.name] not in o.specifier: yield f'{o.name}: {tested[o.name]} was tested, and settings.ini allows {o.specifier}'
    for name in {o.name for o in wanted}-tested.keys(): yield f'.ci/tested.txt: {name} is missing; python .ci/requirements.py --write'
    for name in tested.keys()-{o.name for o in wanted+extras}: yield f'.ci/tested.txt: {name} is not required'

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--write', action='store_true', help='keep the installed releases in .ci/tested.txt; what is not installed keeps its line')
    args,(wanted,extras) = parser.parse_args(),required()
    tested = dict(re.findall(r'^([\w.-]+)==(\S+)$', TESTED.read_text() if TESTED.exists() else '', re.M))
    if args.write:
        tested |= {o.name: installed(o.name) for o in wanted+extras if installed(o.name)}
        TESTED.write_text('# The releases with which everything was run last: pip install pvg -c tested.txt\n'+''.join(f'{k}=={v}\n' for k,v in sorted(tested.items())))
    found = list(problems(wanted, extras, tested))
    print('\n'.join(found) if found else f'  {len(wanted)} requirements and {len(extras)} of extras have a lower bound, {len(tested)} of them a tested release')
    return bool(found)

if __name__=='__main__': sys.exit(main())
