"""The play panel in a real browser: JupyterLab and the page of `pvg play`, real keys, pixels compared. Run by browser.py."""
import base64, contextlib, json, os, secrets, shutil, signal, socket, statistics, subprocess, sys, time, urllib.error, urllib.request
from pathlib import Path
from browser import ROOT, browser_pids, cpu, resident, same, until

BAD = '<img src=x onerror="window.hacked = true">'
GAME = '''
import os, threading
from pathlib import Path
from pvg.play.session import PlaySession
from pvg.play.panel import PlayPanel
Path('kernel.pid').write_text(str(os.getpid()))
session = PlaySession('model.safetensors')
panel = PlayPanel(session, scale=3)
panel
'''
SECOND = f'''
class Square:
    "A world that needs no model, with a name that would do harm as HTML"
    names,fps,start_frames = [{BAD!r}, 'right', 'stay'],30.,None
    def __init__(self): self.actions = []
    def reset(self, frame=None): self.actions.clear()
    def undo(self): del self.actions[-1:]
    def save(self, folder='.'): raise OSError('no room for <b>games</b>')
    def step(self, action): self.actions.append(range(3)[action])
    @property
    def frame(self):
        import numpy as np
        frame,x = np.full((32,64,3), (24,28,44), np.uint8),sum((-1,1,0)[a] for a in self.actions)%56
        frame[12:20, x:x+8] = 250,190,60
        return frame
square = Square()
PlayPanel(square, scale=4)
'''
BESIDE = '''
import pvg.play.session as _s
one = PlaySession('model.safetensors')
both = PlayPanel(one, beside=PlaySession('other.safetensors', one.frame), titles=['early checkpoint', 'late checkpoint'], scale=2)
both
'''
PIXELS = '''([panel, i]) => {
  const c = document.querySelectorAll('.pvg-panel')[panel].querySelectorAll('.pvg-picture')[i], d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let s = ''; for (let k = 0; k < d.length; k += 4) s += String.fromCharCode(d[k], d[k+1], d[k+2]);
  return btoa(s); }'''




def notebook(path, *sources):
    "A notebook of code cells"
    cells = [dict(cell_type='code', id=f'cell{i}', metadata={}, source=o.strip(), outputs=[], execution_count=None) for i,o in enumerate(sources)]
    path.write_text(json.dumps(dict(cells=cells, metadata=dict(kernelspec=dict(name='python3', display_name='python3', language='python')), nbformat=4, nbformat_minor=5)))

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class World:
    "A folder with models and notebooks, and servers in it"
    def __init__(self, folder, options):
        self.folder,self.shots,self.token,self.preset = folder,options.shots,secrets.token_urlsafe(16),options.preset
        self.env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]), 'OMP_NUM_THREADS': '1',
                    **{f'JUPYTER_{o}_DIR': str(folder/f'.jupyter-{o.lower()}') for o in ('CONFIG','DATA','RUNTIME')}}
        for o in ('CONFIG','DATA','RUNTIME'): os.environ[f'JUPYTER_{o}_DIR'] = self.env[f'JUPYTER_{o}_DIR']
        notebook(folder/'game.ipynb', GAME)
        notebook(folder/'two.ipynb', GAME, SECOND)
        notebook(folder/'beside.ipynb', GAME.replace('\npanel\n', '\n'), BESIDE)

    def session(self):
        "The game that the page shows, here"
        from pvg.play.session import PlaySession
        return PlaySession(self.folder/'model.safetensors')

    def frames(self, actions, prepare=lambda session: None):
        "What a session makes of these actions: the last frame's pixels"
        session = self.session()
        prepare(session)
        for action in actions: session.step(action)
        return session.frame.tobytes()

    def ask_kernel(self, code):
        "Run code in the newest kernel; what it prints"
        from jupyter_client import BlockingKernelClient
        file = max((self.folder/'.jupyter-runtime').glob('kernel-*.json'), key=lambda o: o.stat().st_mtime)
        client,said = BlockingKernelClient(connection_file=str(file)),[]
        client.load_connection_file(); client.start_channels()
        try: client.execute_interactive(code, timeout=30, store_history=False, output_hook=lambda m: said.append(m['content'].get('text', '')))
        finally: client.stop_channels()
        return ''.join(said).strip()

    @contextlib.contextmanager
    def server(self, *command, ready=None, out=None):
        "A server process until it is no longer needed"
        with open(self.folder/'server.log', 'a') as log:
            process = subprocess.Popen([sys.executable, *command], cwd=self.folder, env=self.env, stdout=out or log, stderr=log, start_new_session=True, text=True)
            def answers():
                assert process.poll() is None, (self.folder/'server.log').read_text()[-2000:]
                try: return urllib.request.urlopen(ready, timeout=5).status
                except urllib.error.HTTPError as e: return e.code
                except OSError: return None
            try:
                if ready: until(answers, 90, 'a server')
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired): process.wait(20)
                with contextlib.suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def lab(self):
        port = free_port()
        self.url,config = f'http://127.0.0.1:{port}',self.folder/'.jupyter-config'
        settings = config/'lab'/'user-settings'/'@jupyterlab'/'apputils-extension'
        settings.mkdir(parents=True)
        (settings/'notification.jupyterlab-settings').write_text('{"fetchNews": "false", "checkForUpdates": false}')
        (config/'jupyter_server_config.json').write_text(json.dumps(dict(IdentityProvider=dict(token=self.token),
            ServerApp=dict(allow_root=True, open_browser=False, ip='127.0.0.1', port=port, port_retries=0))))
        with self.server('-m', 'jupyterlab', '--expose-app-in-browser', ready=f'{self.url}/api?token={self.token}'): yield

    def open(self, context, name):
        "A notebook in JupyterLab, all cells run; the page"
        page = context.new_page()
        page.said = []
        page.on('console', lambda m: page.said.append(m.text) if m.type=='error' else None)
        page.on('pageerror', lambda e: page.said.append(str(e)))
        page.goto(f'{self.url}/doc/tree/{name}?token={self.token}&reset')
        page.wait_for_selector('.jp-Notebook', timeout=90_000)
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'", timeout=90_000)
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        try: return ready(page)
        except Exception:
            shot(self, page, 'failed')
            raise AssertionError(f'{name} shows no panel: {page.locator(".jp-OutputArea").all_inner_texts()!r:.500} {page.said!r:.500}') from None


def ready(page, panel=0, step=0):
    "Wait until a panel shows a step"
    page.wait_for_function('([n, step]) => document.querySelectorAll(".pvg-panel")[n]?.dataset.step === String(step)', arg=[panel, step], timeout=90_000)
    return page

def step_of(page, panel=0): return page.evaluate('n => Number(document.querySelectorAll(".pvg-panel")[n]?.dataset.step ?? -1)', panel)
def pixels(page, panel=0, picture=0): return base64.b64decode(page.evaluate(PIXELS, [panel, picture]))
def focus(page, panel=0): page.locator('.pvg-panel').nth(panel).locator('.pvg-picture').first.click()
def shown(page, selector, panel=0): return page.locator('.pvg-panel').nth(panel).locator(selector).inner_text()

def press(page, *keys, panel=0):
    "Press keys one by one, each after the picture of the one before"
    for key in keys:
        before = step_of(page, panel)
        page.keyboard.press(key)
        until(lambda: step_of(page, panel)!=before, 20, f'a step after {key}')

def still(page, panel=0, seconds=1.):
    "The step at which the game rests"
    until(lambda: (step_of(page, panel), time.sleep(seconds), step_of(page, panel))[::2]==(step_of(page, panel),)*2, 30, 'rest')
    return step_of(page, panel)

def zero(page, panel=0):
    focus(page, panel)
    page.keyboard.press('0')
    return ready(page, panel, 0)


def keys_and_pixels(world, page):
    focus(page)
    first = pixels(page)
    same(first, world.frames([]), 'the first picture')
    assert len({world.frames([o]*3) for o in range(3)})==3, 'this model draws the same whatever the action'
    press(page, '2', 'ArrowRight', 'ArrowLeft', '1')
    same(pixels(page), world.frames([1,1,2,0]), 'the picture after four keys')
    assert pixels(page)!=first, 'the canvas did not change'
    assert 'left' not in shown(page, '.pvg-status') and 'still' in shown(page, '.pvg-status'), shown(page, '.pvg-status')

def undo_and_reset(world, page):
    zero(page)
    press(page, '2', '3')
    two = pixels(page)
    press(page, '1')
    three = pixels(page)
    press(page, 'Backspace')
    same(pixels(page), two, 'undo')
    press(page, 'Shift+Backspace')
    same(pixels(page), three, 'redo')
    zero(page)
    same(pixels(page), world.frames([]), 'reset')
    page.keyboard.press('Backspace')
    same(still(page), 0, 'undo at the beginning')

def holding(world, page):
    zero(page)
    page.keyboard.down('2')
    time.sleep(2.5)
    page.keyboard.up('2')
    at_release = step_of(page)
    n = still(page)
    assert n>=5 and n-at_release<=2, f'{n} steps, {n-at_release} of them after the key was let go'
    same(pixels(page), world.frames([1]*n), 'the picture after holding')
    assert 'FPS' in shown(page, '.pvg-status'), shown(page, '.pvg-status')
    zero(page)
    page.keyboard.press('3', delay=60)
    same(still(page), 1, 'a tap')
    box = page.locator('.pvg-action').nth(2).bounding_box()
    page.mouse.move(box['x']+8, box['y']+8)
    page.mouse.down()
    until(lambda: step_of(page)>=4, 20, 'steps while a button is held')
    page.mouse.move(2, 2) # the pointer is captured: the button stays held
    more = step_of(page)
    until(lambda: step_of(page)>=more+2, 20, 'steps after the pointer slid off')
    page.mouse.up()
    m = still(page)
    same(pixels(page), world.frames([2]*m), 'the picture after holding a button')
    page.keyboard.down('Backspace')
    until(lambda: step_of(page)==0, 20, 'going back while Backspace is held')
    page.keyboard.up('Backspace')
    return f'{n} steps in 2.5 s'

def buttons(world, page):
    zero(page)
    page.locator('.pvg-action').nth(1).click()
    until(lambda: step_of(page)==1, 10, 'a click')
    page.get_by_role('button', name='Undo').click()
    until(lambda: step_of(page)==0, 10, 'undo by click')
    page.locator('.pvg-action').nth(2).focus()
    page.keyboard.press('Enter')
    until(lambda: step_of(page)==1, 10, 'a button by Enter')
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.closest(".pvg-panel") !== null'), 'Tab left the panel too early'
    page.locator('.pvg-panel').focus()
    cells = page.locator('.jp-Cell').count()
    for key in ('a', 'b', 'd', 'x', 'm'): page.keyboard.press(key) # shortcuts of a notebook: none may act
    time.sleep(.5)
    same(page.locator('.jp-Cell').count(), cells, 'cells after keys that are shortcuts elsewhere')
    same(step_of(page), 1, 'steps')

def automatic(world, page):
    zero(page)
    page.keyboard.press('Space')
    until(lambda: step_of(page)>=6, 20, 'automatic play')
    page.keyboard.press('Space')
    n = still(page)
    from pvg.play.session import random_action
    same(pixels(page), world.frames([random_action(3, i) for i in range(n)]), 'the picture after automatic play')
    page.keyboard.press('Space')
    time.sleep(.3)
    page.keyboard.press('Escape')
    still(page)

def extras(world, page):
    zero(page)
    page.get_by_text('Preview every action').click()
    until(lambda: page.evaluate('[...document.querySelectorAll(".pvg-action canvas")].every(o => !o.hidden && o.width > 1)'), 20, 'a preview')
    page.get_by_text('Preview every action').click()
    page.get_by_text('Start frames').click()
    until(lambda: page.evaluate('[...document.querySelectorAll(".pvg-starts canvas")].every(o => o.width > 1)'), 20, 'thumbnails')
    page.locator('.pvg-starts button').nth(2).click()
    def begin(s): s.reset(s.start_frames[2])
    def blend(s): begin(s); s.step(*s.between(0, 1, .5))
    def noisy(s): blend(s); s.noise = 1.
    want = world.frames([], begin)
    until(lambda: pixels(page)==want, 10, 'another start frame')
    page.get_by_text('Between two actions').click()
    focus(page)
    page.keyboard.press('b')
    until(lambda: step_of(page)==1, 10, 'a step between two actions')
    same(pixels(page), world.frames([], blend), 'the picture between two actions')
    page.get_by_text('Between two actions').click()
    page.get_by_text('Noise', exact=True).click()
    focus(page)
    press(page, '2')
    same(pixels(page), world.frames([1], noisy), 'the picture with noise')
    page.get_by_text('Noise', exact=True).click()
    page.locator('.pvg-starts button').nth(0).click()
    ready(page)
    page.get_by_text('Start frames').click()

def recording(world, page):
    shutil.rmtree(world.folder/'recordings', ignore_errors=True)
    zero(page)
    press(page, '2', '2')
    page.keyboard.press('r')
    until(lambda: 'Stop' in shown(page, '.pvg-on'), 10, 'recording')
    press(page, '1', '3', '3')
    page.keyboard.press('r')
    until(lambda: 'saved' in shown(page, '.pvg-note'), 20, 'saving')
    with page.expect_download() as download: page.locator('.pvg-note button').first.click()
    page.get_by_role('button', name='⤓ Save', exact=True).click()
    until(lambda: (world.folder/'recordings'/'play-2.json').exists() and 'play-2' in shown(page, '.pvg-note'), 20, 'saving all')
    target = world.folder/'downloaded.mp4'
    download.value.save_as(target)
    same(download.value.suggested_filename, 'play.mp4', 'its name')
    same(target.read_bytes(), (world.folder/'recordings'/'play.mp4').read_bytes(), 'the download')
    def look(path):
        import av
        with av.open(str(path)) as f: return [f.streams.video[0].frames, float(f.streams.video[0].average_rate), f.duration, sum(1 for _ in f.decode(video=0))]
    same(look(target), [4, 12.0, 333333, 4], 'frames, rate and length of the part')
    same(look(world.folder/'recordings'/'play-2.mp4'), [6, 12.0, 500000, 6], 'frames of the whole')
    same(world.frames([], lambda s: s.replay(world.folder/'recordings'/'play-2.json')), pixels(page), 'the replay')

def quiet(world, page):
    "Nothing of ours complained in the browser"
    same([o for o in page.said if 'pvg' in o.lower()], [], 'errors')

def two_panels(world, context):
    page = world.open(context, 'two.ipynb')
    ready(page, 1)
    same(page.evaluate('window.hacked'), None, 'a name that is HTML')
    assert BAD in page.locator('.pvg-panel').nth(1).locator('.pvg-action').first.inner_text(), 'the name is not shown as it is'
    focus(page, 1)
    page.keyboard.press('Space')
    focus(page, 0)
    press(page, '2', '3', '3')
    same(pixels(page), world.frames([1,2,2]), 'the first panel while the second runs')
    assert step_of(page, 1)>3, 'the second panel stopped'
    focus(page, 1)
    page.keyboard.press('Space')
    n = still(page, 1)
    want = world.ask_kernel('import base64; print(base64.b64encode(square.frame.tobytes()).decode(), len(square.actions))').split()
    same([pixels(page, 1), n], [base64.b64decode(want[0]), int(want[1])], 'the second panel')
    page.locator('.pvg-panel').nth(1).get_by_role('button', name='Save').click()
    until(lambda: 'no room for <b>games</b>' in shown(page, '.pvg-error', 1), 10, 'the error')
    same(step_of(page, 0), 3, 'the first panel')
    same([o for o in page.said if 'pvg' in o.lower()], [], 'errors in the console')
    page.close()

def nothing_left(world, context):
    "Re-run, close, interrupt: the game stops, and no thread is left"
    page = world.open(context, 'game.ipynb')
    count = lambda: int(world.ask_kernel('print(len(session.actions))'))
    threads = lambda: world.ask_kernel('print(sorted(o.name for o in threading.enumerate()))')
    before = threads()
    focus(page)
    page.keyboard.press('Space')
    until(lambda: step_of(page)>3, 20, 'automatic play')
    alive = lambda: int(world.ask_kernel('import gc; gc.collect(); print(sum(type(o) is PlaySession for o in gc.get_objects()))'))
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    until(lambda: step_of(page)==0, 20, 'the new panel')
    same(alive(), 1, 'sessions after the cell was run again')
    focus(page)
    page.keyboard.press('Space')
    until(lambda: step_of(page)>3, 20, 'automatic play')
    world.ask_kernel('old = session')
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    until(lambda: step_of(page)==0, 20, 'the new panel')
    time.sleep(.5)
    old = world.ask_kernel('print(len(old.actions))')
    time.sleep(1.5)
    same(world.ask_kernel('print(len(old.actions))'), old, 'steps of the panel whose cell was run again')
    focus(page)
    page.keyboard.press('Space')
    until(lambda: step_of(page)>3, 20, 'automatic play')
    kernel = json.loads(urllib.request.urlopen(f'{world.url}/api/kernels?token={world.token}').read())
    for k in kernel: urllib.request.urlopen(urllib.request.Request(f'{world.url}/api/kernels/{k["id"]}/interrupt?token={world.token}', method='POST'))
    time.sleep(1.5)
    note = shown(page, '.pvg-error') if page.locator('.pvg-error').is_visible() else 'automatic play went on after an interrupt'
    if 'went on' in note: until(lambda: step_of(page)>5, 20, 'going on')
    else: focus(page); page.keyboard.press('Space')
    n = step_of(page)
    until(lambda: step_of(page)>n, 20, 'automatic play')
    page.close()
    time.sleep(1.)
    n = count()
    time.sleep(2.)
    same(count(), n, 'steps after the page was closed')
    same(threads(), before, 'threads')
    return note

def beside(world, context):
    page = world.open(context, 'beside.ipynb')
    focus(page)
    press(page, '2', '2')
    same(pixels(page, 0, 0), world.frames([1,1]), 'the first picture')
    from pvg.play.session import PlaySession
    other = PlaySession(world.folder/'other.safetensors', world.session().frame)
    same(pixels(page, 0, 1), other.play([1,1])[-1].tobytes(), 'the second picture')
    shot(world, page, 'lab-beside-1280')
    page.close()

def reload(world, context):
    "A page that is loaded anew shows the game where it is"
    page = world.open(context, 'game.ipynb')
    focus(page)
    press(page, '2', '2', '2')
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    second = context.new_page() # the same notebook in another window
    second.goto(f'{world.url}/doc/tree/game.ipynb?token={world.token}')
    second.wait_for_selector('.jp-Notebook', timeout=60_000)
    with contextlib.suppress(Exception): ready(second, 0, 3)
    seen = second.locator('.pvg-panel').count()
    note = 'another window shows it' if seen and step_of(second)==3 else 'another window does not show it: run the cell there'
    second.close()
    page.close()
    return note

def gamepad(world, context):
    context.add_init_script('''window.pad = {connected: true, buttons: Array.from({length: 16}, () => ({pressed: false}))}; navigator.getGamepads = () => [window.pad];''')
    page = world.open(context, 'game.ipynb')
    focus(page)
    for button,want in ((0,1), (15,2)):
        page.evaluate('n => { window.pad.buttons[n].pressed = true; setTimeout(() => { window.pad.buttons[n].pressed = false; }, 60); }', button)
        until(lambda: step_of(page)==want, 10, f'gamepad button {button}')
    same(pixels(page), world.frames([0,1]), 'the picture')
    page.close()


WATCH = '''() => { const root = document.querySelector('.pvg-panel'); window.times = []; let at = null;
  root.addEventListener('keydown', e => { if (!e.repeat) at = performance.now(); }, true);
  new MutationObserver(() => { if (at !== null) { const t = at; at = null; requestAnimationFrame(() => window.times.push(performance.now() - t)); } }).observe(root, {attributes: true, attributeFilter: ['data-step']}); }'''

def speed(page, fps): page.evaluate('n => { const o = document.querySelector(".pvg-panel input[type=range]"); o.value = n; o.dispatchEvent(new Event("input")); }', fps)

def measure(world, page, seconds=8):
    "Steps a second while a key is held as fast as it goes, and from key to picture; what they cost, whatever else the machine does"
    speed(page, 60)
    zero(page)
    page.keyboard.down('2')
    until(lambda: step_of(page)>=3, 20, 'steps')
    kernel,shown_by = [int((world.folder/'kernel.pid').read_text())],browser_pids()
    start,first,before = time.monotonic(),step_of(page),(cpu(kernel), cpu(shown_by))
    time.sleep(seconds)
    n = step_of(page)-first
    rate,cost = n/(time.monotonic()-start),[1000*(a-b)/n for a,b in zip((cpu(kernel), cpu(shown_by)), before)]
    page.keyboard.up('2')
    still(page)
    text = shown(page, '.pvg-status')
    page.evaluate(WATCH)
    for i in range(30):
        page.keyboard.press('123'[i%3], delay=30)
        time.sleep(.3)
    times = sorted(page.evaluate('window.times'))
    return (f'{rate:.1f} steps/s, key to picture median {statistics.median(times):.0f} ms, 90 % below {times[int(.9*len(times))]:.0f} ms (n={len(times)}); '
            f'processor time a step: kernel {cost[0]:.1f} ms, browser {cost[1]:.1f} ms; the panel says "{text}"')

def soak(world, context, steps):
    "Thousands of steps: neither the kernel nor the page grows"
    page = world.open(context, 'game.ipynb')
    speed(page, 60)
    client = context.new_cdp_session(page)
    client.send('Performance.enable')
    pid = int((world.folder/'kernel.pid').read_text())
    def sizes():
        for _ in range(3): client.send('HeapProfiler.collectGarbage'); time.sleep(.2)
        metrics = {o['name']: o['value'] for o in client.send('Performance.getMetrics')['metrics']}
        return resident(pid), metrics['JSHeapUsedSize']/2**20, int(metrics['Nodes']), int(metrics['JSEventListeners'])
    focus(page)
    page.keyboard.press('Space')
    lines,marks = [],[int(steps*o) for o in (.25,.5,.75,1)]
    for mark in marks:
        until(lambda: step_of(page)>=mark, 3600, f'{mark} steps')
        lines.append(f'{step_of(page)}: kernel %.0f MB, page %.1f MiB of objects, %d nodes, %d listeners' % sizes())
    page.keyboard.press('Space')
    page.close()
    return '; '.join(lines)

def shot(world, page, name):
    if world.shots: page.screenshot(path=str(world.shots/f'{name}.png'))

def looks(world, context):
    page = world.open(context, 'game.ipynb')
    focus(page)
    press(page, '2', '3')
    for theme in ('Light', 'Dark'):
        page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})")
        time.sleep(1.5)
        for width,height in ((1280,900), (390,1200)):
            page.set_viewport_size(dict(width=width, height=height))
            time.sleep(1.)
            page.locator('.pvg-panel').scroll_into_view_if_needed()
            page.locator('.pvg-panel').focus()
            shot(world, page, f'lab-{theme.lower()}-{width}')
            wide = page.evaluate('() => { const o = document.querySelector(".pvg-panel"); return o.scrollWidth - o.clientWidth; }')
            assert wide<=1, f'the panel is {wide} pixels wider than its place at {width}'
    page.set_viewport_size(dict(width=1280, height=900))
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    page.close()

def labels(world, page):
    "Everything that can be reached has a name"
    nameless = page.evaluate('''() => [...document.querySelectorAll('.pvg-panel :is(button, input, select, canvas:not([aria-hidden]), summary)')].filter(o =>
      !(o.textContent.trim() || o.getAttribute('aria-label') || o.title || o.labels?.length || o.closest('button'))).map(o => o.outerHTML.slice(0, 120))''')
    same(nameless, [], 'controls without a name')

def kernels(process):
    "The kernels that a server runs"
    import psutil
    return [o for o in psutil.Process(process.pid).children(recursive=True) if 'ipykernel' in ' '.join(o.cmdline())]

def play_page(world, context):
    "`pvg play` on 127.0.0.1 behind a token: plays, stops when the page is closed, and leaves nothing behind"
    port = free_port()
    with world.server('-c', 'import sys; from pvg.cli import main; sys.exit(main())', 'play', 'model.safetensors', '--port', str(port), '--no-browser', out=subprocess.PIPE) as process:
        said = [process.stdout.readline() for _ in range(3)]
        address = said[1].strip()
        assert address.startswith(f'http://127.0.0.1:{port}/?token='), said
        import psutil
        listening = {o.laddr.ip for p in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)] for o in p.net_connections(kind='inet') if o.status=='LISTEN'}
        same(listening, {'127.0.0.1'}, 'where it listens')
        page = context.new_page()
        page.goto(f'http://127.0.0.1:{port}/')
        assert page.locator('.pvg-panel').count()==0, 'the page is served without a token'
        policy = dict(o.split(' ', 1) for o in page.goto(address).headers['content-security-policy'].split('; '))
        same([policy.get(o) for o in ('default-src','frame-ancestors','object-src','form-action')], ["'self'","'none'","'none'","'self'"], 'the policy of the page')
        ready(page)
        same(page.evaluate("new Promise(done => { addEventListener('securitypolicyviolation', o => done(o.effectiveDirective)); fetch('http://127.0.0.1:9/').catch(() => 0); setTimeout(() => done('none'), 5000); })"),
             'connect-src', 'what the policy forbade')
        press(page, '2', '3', '3')                                     # at once: nothing was clicked
        same(pixels(page), world.frames([1,2,2]), 'the picture')
        press(page, 'Backspace')
        same(pixels(page), world.frames([1,2]), 'undo')
        page.keyboard.down('2')
        until(lambda: step_of(page)>=8, 30, 'steps while a key is held')
        page.keyboard.up('2')
        n = still(page)
        same(pixels(page), world.frames([1,2]+[1]*(n-2)), 'the picture after holding')
        for name in ('Start frames','Preview every action','Between two actions'): page.get_by_text(name).click()
        time.sleep(1.5)
        for width,height in ((1280,900), (390,1400)):
            page.set_viewport_size(dict(width=width, height=height))
            shot(world, page, f'play-{width}')
        page.get_by_text('Preview every action').click()
        focus(page)
        page.keyboard.press('Space')
        n = step_of(page)
        until(lambda: step_of(page)>n+2, 20, 'automatic play')
        running = kernels(process)
        page.close()
        time.sleep(5)
        left = [o for o in running if o.is_running()]
        before = [sum(o.cpu_times()[:2]) for o in left]
        time.sleep(1)
        work = [sum(o.cpu_times()[:2])-b for o,b in zip(left, before)]
        assert all(o<.2 for o in work), f'{work} s of work in the second after the page was closed for 5'
    same([o for o in running if o.is_running()], [], 'processes after the server ended')
    return f'{len(left)} of {len(running)} kernels there 5 s after the page was closed'


def run(check, browser, folder, options):
    "All checks of the panel"
    world = World(folder, options)
    failed = check.failed
    try:
        with world.lab():
            context = browser.new_context(viewport=dict(width=1280, height=900), accept_downloads=True)
            page = world.open(context, 'game.ipynb')
            for f in (keys_and_pixels, undo_and_reset, holding, buttons, automatic, extras, recording, labels, quiet): check(f, world, page)
            if options.measure: check(measure, world, page)
            page.close()
            for f in (two_panels, nothing_left, beside, reload): check(f, world, context)
            check(gamepad, world, browser.new_context(viewport=dict(width=1280, height=900)))
            if options.shots: check(looks, world, context)
            if options.soak: check(soak, world, context, options.soak)
        check(play_page, world, context)
        context.close()
    finally:
        if check.failed>failed: print(f'the servers said (end):\n{(folder/"server.log").read_text()[-1500:]}')
