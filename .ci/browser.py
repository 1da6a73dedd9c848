"""A real browser plays: `python .ci/browser.py` presses keys in JupyterLab, on the page of `pvg play`, and on an exported
page, and looks at README.md.

    python .ci/browser.py [panel|web|readme ...] [--preset swift] [--checkpoint FILE] [--only WORD ...] [--measure] [--soak STEPS] [--shots FOLDER]

Prints one line for each check and `N passed, M failed`. What --measure reads is printed, not asserted.
"""
import argparse, contextlib, os, shutil, sys, tempfile, time, traceback
os.environ['OMP_NUM_THREADS'] = '1'                                    # sums in the same order here and in the kernel: pixels are compared
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

class Checks:
    "Named checks, counted"
    def __init__(self, only): self.passed,self.failed,self.only = 0,0,only
    def __call__(self, function, *args):
        name = function.__name__
        if self.only and not any(o in name for o in self.only): return
        start = time.monotonic()
        try: note = function(*args)
        except Exception as e:
            self.failed += 1
            print(f'FAILED {name}: {"".join(traceback.format_exception_only(e)).strip()[:1500]}', flush=True)
            traceback.print_tb(e.__traceback__)
        else:
            self.passed += 1
            print(f'ok     {name} ({time.monotonic()-start:.1f} s){f": {note}" if note else ""}', flush=True)

def same(got, wanted, what=''):
    "Complain unless equal"
    assert got==wanted, f'{what}: {got!r:.300} is not {wanted!r:.300}'

def until(condition, seconds=30, what='it'):
    "Wait for something to become true, and return it"
    end = time.monotonic()+seconds
    while time.monotonic()<end:
        if value := condition(): return value
        time.sleep(.03)
    raise AssertionError(f'{what} did not happen within {seconds} s')

def resident(pid):
    "Megabytes of memory that a process has"
    return next(int(o.split()[1])/1e3 for o in Path(f'/proc/{pid}/status').read_text().splitlines() if o.startswith('VmRSS'))

def cpu(pids):
    "Seconds of processor time that these processes have used"
    ticks = lambda pid: sum(map(int, Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[11:13]))
    return sum(ticks(o) for o in pids if Path(f'/proc/{o}').exists())/os.sysconf('SC_CLK_TCK')

def browser_pids():
    "The processes of the browser that this process started"
    import psutil
    return [o.pid for o in psutil.Process().children(recursive=True) if 'chromium' in o.name()]

def write_models(folder, preset):
    "An untrained model of the right architecture and size with real start frames, and another to play beside it"
    import torch
    from pvg.checkpoint import save_model
    from pvg.data.worlds import record_breakout
    from pvg.model.caddy import Caddy, preset_config
    torch.manual_seed(0)
    store = record_breakout(folder/'breakout', frames=200, progress=False)
    for name in ('model','other'):
        model = Caddy(preset_config(preset, width=160, height=208)).eval()
        with torch.no_grad():                                          # untrained weights draw grey: make what they draw depend on what they see
            for p in model.parameters():
                if p.ndim>1: p.mul_(1.6)
        save_model(model, folder/f'{name}.safetensors', card=dict(actions=['still','right','left'], fps=12), start_frames=store.read(0)[::20][:6])

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', choices=['panel','web','readme',[]], help='which of them; all if not given')
    parser.add_argument('--preset', default='swift', help='architecture of the untrained model that is played')
    parser.add_argument('--checkpoint', type=Path, help='a trained model to play instead, 160x208 with actions still, right, left')
    parser.add_argument('--chromium', default=shutil.which('chromium') or '/usr/bin/chromium')
    parser.add_argument('--tarball', type=Path, help='a local onnxruntime-web package; npm fetches it if not given')
    parser.add_argument('--only', nargs='*', default=[], help='only checks whose name contains one of these')
    parser.add_argument('--measure', action='store_true', help='also frames a second and time from key to picture')
    parser.add_argument('--soak', type=int, default=0, help='also so many steps in each, with memory watched')
    parser.add_argument('--shots', type=Path, help='a folder for pictures to look at')
    o = parser.parse_args()
    import browser_panel, browser_readme, browser_web
    from playwright.sync_api import sync_playwright
    check,folder = Checks(o.only),Path(tempfile.mkdtemp(prefix='pvg-browser-'))
    try:
        if o.what!=['readme']: write_models(folder, o.preset)
        if o.checkpoint: shutil.copy(o.checkpoint, folder/'model.safetensors')
        if o.shots: o.shots.mkdir(parents=True, exist_ok=True)
        with sync_playwright() as play, play.chromium.launch(executable_path=o.chromium, args=FLAGS) as browser:
            for name,module in dict(readme=browser_readme, panel=browser_panel, web=browser_web).items():
                if not o.what or name in o.what: module.run(check, browser, folder, o)
    finally: shutil.rmtree(folder, ignore_errors=True)
    print(f'{check.passed} passed, {check.failed} failed')
    return bool(check.failed or not check.passed)

if __name__=='__main__': sys.exit(main())
