"Everything this file says comes from settings.ini; change things there."
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_namespace_packages, setup

here = Path(__file__).resolve().parent
parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read(here/'settings.ini', encoding='utf-8')
raw = dict(parser['DEFAULT'])

def expand(text):
    "Fill in `%(name)s` from the other settings"
    while re.search(r'%\((\w+)\)s', text): text = re.sub(r'%\((\w+)\)s', lambda m: raw[m[1]], text)
    return text

cfg = {k:expand(v) for k,v in raw.items()}
required = 'lib_name version description keywords author author_email min_python audience language status git_url branch requirements'
missing = [k for k in required.split() if not cfg.get(k)]
if missing: raise SystemExit(f'settings.ini has no value for: {", ".join(missing)}')

def requirements(key):
    "The requirements listed under `key`, split on white space"
    return cfg.get(key, '').split()

def readme():
    "The README with its pictures at absolute addresses, so that package indexes show them too"
    text = (here/'README.md').read_text(encoding='utf-8')
    address = cfg['git_url'].replace('//github.com/', '//raw.githubusercontent.com/') + f'/{cfg["branch"]}/nbs/'
    return re.sub(r'(?<=\]\()nbs/|(?<=src=")nbs/', lambda m: address, text)

pythons = [f'3.{minor}' for minor in range(int(cfg['min_python'].split('.')[1]), 14)]
statuses = ['1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable', '6 - Mature', '7 - Inactive']

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=readme(),
    long_description_content_type='text/markdown',
    keywords=cfg['keywords'],
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    project_urls={
        'Documentation': f'{cfg["doc_host"]}{cfg["doc_baseurl"]}',
        'Changelog': f'{cfg["git_url"]}/blob/{cfg["branch"]}/CHANGELOG.md',
        'Issues': f'{cfg["git_url"]}/issues'},
    classifiers=[
        f'Development Status :: {statuses[int(cfg["status"])-1]}',
        f'Intended Audience :: {cfg["audience"]}',
        f'Natural Language :: {cfg["language"]}',
        'Framework :: Jupyter',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Programming Language :: Python :: 3 :: Only',
        *[f'Programming Language :: Python :: {p}' for p in pythons]],
    packages=find_namespace_packages(include=[cfg['lib_name'], f'{cfg["lib_name"]}.*'], exclude=['*.__pycache__']), # folders of data included
    package_data={cfg['lib_name']: requirements('package_data')}, # globs inside the package: files that are not Python
    python_requires=f'>={cfg["min_python"]}',
    install_requires=requirements('requirements'),
    # every `NAME_requirements` line of settings.ini is an extra: pip install pvg[NAME]
    extras_require={k[:-len('_requirements')]:requirements(k) for k in cfg if k.endswith('_requirements')},
    entry_points={
        'console_scripts': requirements('console_scripts'),
        'nbdev': [f'{cfg["lib_name"]}={cfg["lib_name"]}._modidx:d']}, # lets other projects' documentation link to ours
    zip_safe=False,
)
