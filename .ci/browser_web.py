"""An exported page in a real browser: keys, fingers, pixels, memory and what is said when it cannot work. Run by browser.py."""
import base64, functools, http.server, json, shutil, threading, time
from pathlib import Path
from browser import browser_pids, cpu, resident, until

READY = 'document.body.dataset.ready == "yes"'
PIXELS = '''() => { const c = document.querySelector("canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
                    let s = ""; for (let i = 0; i < d.length; i++) if (i%4 != 3) s += String.fromCharCode(d[i]); return btoa(s); }'''

class Handler(http.server.SimpleHTTPRequestHandler):
    isolated = False
    def log_message(self, *args): pass
    def end_headers(self):
        if self.isolated:
            self.send_header('Cross-Origin-Opener-Policy', 'same-origin')
            self.send_header('Cross-Origin-Embedder-Policy', 'require-corp')
        super().end_headers()

class Isolated(Handler): isolated = True

def serve(folder, handler=Handler):
    "A server on a free port of this machine, and its address"
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f'http://127.0.0.1:{server.server_port}/'

class Page:
    "An open page, and everything it asked for or complained about"
    def __init__(self, browser, address, ready=True, **options):
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page,self.asked,self.said = self.context.new_page(),[],[]
        self.page.on('request', lambda o: self.asked.append(o.url))
        self.page.on('console', lambda o: self.said.append(o.text) if o.type in ('error','warning') else None)
        self.page.on('pageerror', lambda o: self.said.append(str(o)))
        start = time.perf_counter()
        self.page.goto(address)
        if not ready: return
        self.until('!document.getElementById("game").hidden')
        self.first = time.perf_counter()-start
        self.until(READY)
        self.ready = time.perf_counter()-start

    def __enter__(self): return self
    def __exit__(self, *args): self.context.close()
    def pixels(self): return base64.b64decode(self.page.evaluate(PIXELS))
    def text(self, id): return self.page.text_content(f'#{id}')
    def step(self): return int(self.text('step').split()[1])
    def wait(self, n): self.until(f'document.getElementById("step").textContent == "step {n}"')
    def until(self, fact, limit=120): # wait_for_function would need eval, which the page's policy forbids
        end = time.perf_counter()+limit
        while not self.page.evaluate(fact):
            assert time.perf_counter()<end, f'{fact} did not come true in {limit} s: {self.said[:3]}, {self.text("notice")}'
            time.sleep(.01)
    def press(self, key):
        n = self.step()
        self.page.keyboard.press(key)
        self.wait(n+1)

def apart(a, b):
    "Largest difference of two pictures"
    assert len(a)==len(b), f'{len(a)} and {len(b)} bytes'
    return max(abs(x-y) for x,y in zip(a, b))

def pixels(p, expected):
    "Real keys draw what PlaySession draws"
    worst = 0
    assert p.pixels()==expected['frames'][0], 'the start frame is not exact'
    for action,frame in zip(expected['script'], expected['frames'][1:]):
        p.press(str(action+1))
        worst = max(worst, apart(p.pixels(), frame))
    assert worst<=2, f'{worst} grey levels from PlaySession'
    return f'{len(expected["script"])} steps, at most {worst} grey levels apart'

def undo(p, expected):
    "Backspace restores the exact picture, and 0 the start"
    before,n = p.pixels(),p.step()
    p.press('1'); p.press('2')
    drawn = p.pixels()
    p.page.keyboard.press('Backspace'); p.wait(n+1)
    p.page.click('#undo'); p.wait(n)
    assert p.pixels()==before, 'undo gave another picture'
    p.press('1'); p.press('2')
    assert p.pixels()==drawn, 'the same actions gave another picture after undo'
    p.page.keyboard.press('0'); p.wait(0)
    assert p.pixels()==expected['frames'][0], 'reset gave another picture'
    p.page.keyboard.press('Backspace')
    time.sleep(.3)
    assert p.step()==0 and p.page.is_disabled('#undo')

def hold(p, facts):
    "A held key or button runs at the card's rate, and stops when it is let go"
    for down,up in ((lambda: p.page.keyboard.down('1'), lambda: p.page.keyboard.up('1')), (p.page.mouse.down, p.page.mouse.up)):
        n = p.step()
        p.page.hover('#actions button')
        down(); time.sleep(2); up()
        time.sleep(1)
        made,shown = p.step()-n,p.text('rate')
        assert 2<=made<=2*facts['fps']+3, f'{made} steps in 2 s at {facts["fps"]} FPS'
        time.sleep(.5)
        assert p.step()-n==made, 'it goes on after it was let go'
    p.press('1')
    assert p.text('delay').endswith(' ms')
    return f'{made} steps in 2 s, {shown}, {p.text("delay")}'

def keys(p, facts):
    "Arrows play named directions, space plays and pauses, combinations are the browser's, Enter on a button is one step"
    for i,name in enumerate(facts['actions']):
        if name in ('left','right','up','down'):
            p.press(f'Arrow{name.title()}')
            assert p.text('done')==name
    n = p.step()
    p.page.keyboard.press('Control+1'); p.page.keyboard.press('x')
    time.sleep(.3)
    assert p.step()==n
    p.page.keyboard.press(' ')
    p.until(f'parseInt(document.getElementById("step").textContent.slice(5)) > {n+2}')
    assert p.page.get_attribute('#auto', 'aria-pressed')=='true'
    p.page.keyboard.press(' ')
    time.sleep(1); n = p.step(); time.sleep(.7)
    assert (p.step(), p.page.get_attribute('#auto', 'aria-pressed'))==(n, 'false')
    p.page.focus('#actions button')
    p.press('Enter')
    assert p.page.evaluate('getComputedStyle(document.activeElement).outlineStyle')=='solid', 'the focus cannot be seen'
    p.page.evaluate('document.activeElement.blur()')
    for key in '123': p.page.keyboard.press('1') # as fast as they come
    p.wait(n+4)

def text(p, facts):
    "Names are text and labels are there"
    names = p.page.eval_on_selector_all('#actions button span:not(.sign)', 'o => o.map(x => x.textContent)')
    assert names==facts['actions'] and p.page.evaluate('document.querySelectorAll("#actions b, #actions script").length')==0
    assert p.text('title')==facts['title'] and p.page.title()==facts['title']
    unnamed = p.page.evaluate('[...document.querySelectorAll("button, canvas, img")].filter(o => !(o.textContent.trim() || o.getAttribute("aria-label") || o.alt)).filter(o => !o.querySelector("img")).length')
    assert unnamed==0 and p.text('live').strip()

def starts(p, facts, expected):
    "Another start frame can be chosen, and stays the one to begin from"
    if facts['starts']<2: return 'only one start frame'
    p.page.click('#starts button:nth-child(2)'); p.wait(0)
    second = p.pixels()
    assert second!=expected['frames'][0]
    p.press('1'); p.page.keyboard.press('0'); p.wait(0)
    assert p.pixels()==second
    p.page.click('#starts button:nth-child(1)'); time.sleep(.3)
    assert p.pixels()==expected['frames'][0]

def look(path):
    "Frames of a film, time of the last one, and how wide it is for its height"
    import av
    with av.open(str(path)) as film:
        frames = [(o.time, o.width/o.height) for o in film.decode(video=0)]
        return len(frames), frames[-1][0], frames[0][1]

def record(p, facts, folder):
    "R records a WebM that PyAV opens, with a picture for every step"
    for n in (1, 2):
        p.page.keyboard.press('r')
        for i in range(8*n): p.press(str(i%2+1)); time.sleep(.1)
        with p.page.expect_download() as download: p.page.keyboard.press('r')
        path = folder/download.value.suggested_filename
        download.value.save_as(path)
        assert path.name==f'game-{n}.webm'
        frames,seconds,shape = look(path)
        assert 8*n<=frames<=8*n+3, f'{frames} frames for {8*n} steps'
        assert abs(shape-facts['width']/facts['height'])<.01 and .8*n<seconds<60
    assert p.page.locator('#recordings a').count()==2, 'an earlier recording is gone'
    return f'{frames} frames, {seconds:.1f} s'

def asks_nobody(p, address):
    "The page asks nobody else, and nothing was amiss"
    elsewhere = [o for o in p.asked if not o.startswith((address, 'blob:', 'data:'))]
    assert not elsewhere, elsewhere
    said = [o for o in p.said if not o.startswith(('No available adapters', 'Canvas2D: Multiple readback'))] # of the browser: no graphics card, and this test's reading
    assert not said, said[:3]

def speed(browser, address, seconds):
    "Steps a second while a key is held, as fast as they come"
    with Page(browser, f'{address}?fps=120&backend=wasm') as p:
        p.page.keyboard.down('1'); time.sleep(2)
        n,start,before = p.step(),time.perf_counter(),cpu(browser_pids())
        time.sleep(seconds)
        n = p.step()-n
        rate,cost = n/(time.perf_counter()-start),1000*(cpu(browser_pids())-before)/n
        delay = p.text('delay')
        p.page.keyboard.up('1')
        return f'{rate:.1f} FPS, step {delay}, {cost:.1f} ms of processor time a step; first picture {p.first:.2f} s, ready {p.ready:.2f} s'

def growth(browser, address, steps):
    "Memory of the page's process, its worker included, after a fifth and after all of the steps"
    tools = browser.new_browser_cdp_session()
    renderers = lambda: {o['id'] for o in tools.send('SystemInfo.getProcessInfo')['processInfo'] if o['type']=='renderer'}
    megabytes = lambda pids: sum(resident(o) for o in pids)
    before = renderers()
    with Page(browser, f'{address}?fps=120&backend=wasm') as p:
        own,sizes = renderers()-before,[]
        p.page.keyboard.down('1')
        sizes.append(megabytes(own))
        for n in (max(steps//5, 120), steps):
            p.until(f'parseInt(document.getElementById("step").textContent.slice(5)) >= {n}', 3000)
            sizes.append(megabytes(own))
        p.page.keyboard.up('1')
    assert own and sizes[2]<1.1*sizes[1]+16, f'{sizes}'
    return f'{sizes[0]:.0f} MB at first, {sizes[1]:.0f} MB after {max(steps//5, 120)} steps, {sizes[2]:.0f} MB after {steps}'

def phone(browser, address):
    "At 390 pixels nothing sticks out, and fingers play"
    with Page(browser, address, viewport=dict(width=390, height=844), has_touch=True, is_mobile=True) as p:
        assert p.page.evaluate('document.documentElement.scrollWidth')<=390
        p.page.tap('#actions button:nth-child(2)'); p.wait(1)
        box = p.page.locator('#actions button').first.bounding_box()
        assert box['height']>=44
        tools,at = p.context.new_cdp_session(p.page),dict(x=box['x']+box['width']/2, y=box['y']+box['height']/2)
        tools.send('Input.dispatchTouchEvent', dict(type='touchStart', touchPoints=[at])); time.sleep(1.5)
        tools.send('Input.dispatchTouchEvent', dict(type='touchEnd', touchPoints=[])); time.sleep(1)
        n = p.step(); time.sleep(.5)
        assert n>=4 and p.step()==n, f'step {n}'
        p.page.tap('#undo'); p.wait(n-1)

def trouble(browser, folder, temporary):
    "What cannot work is said, never a blank page"
    def says(address, words, script=None):
        context = browser.new_context(); page = context.new_page()
        if script: page.add_init_script(script)
        page.goto(address)
        page.wait_for_selector('#notice.bad', timeout=60_000)
        assert words in page.text_content('#notice'), page.text_content('#notice')
        context.close()
    address = serve(folder)
    says((folder/'index.html').as_uri(), 'opened as a file')
    says(address, 'no WebAssembly', 'delete window.WebAssembly')
    says(address, 'no DecompressionStream', 'delete window.DecompressionStream')
    for name in ('model.onnx','runtime/wasm.wasm.gz','game.json'):
        copy = temporary/f'without-{Path(name).name}'
        shutil.copytree(folder, copy); (copy/name).unlink()
        says(serve(copy), f'{name} could not be loaded (HTTP 404)')
    context = browser.new_context(java_script_enabled=False); page = context.new_page()
    page.goto(address)
    assert 'switched off' in page.inner_text('main')

def hostile(browser, folder, temporary):
    "Names and title are shown as they are, and never obeyed"
    bad = '<img src=x onerror="window.hacked = true">'
    shutil.copytree(folder, temporary/'hostile')
    facts = json.loads((folder/'game.json').read_text())
    facts |= dict(title=bad, actions=[bad, *facts['actions'][1:]])
    (temporary/'hostile'/'game.json').write_text(json.dumps(facts))
    with Page(browser, serve(temporary/'hostile')) as p:
        p.press('1')
        text(p, facts)
        assert p.text('done')==bad and not p.page.evaluate('window.hacked') and p.page.locator('img[onerror]').count()==0

def places(browser, folder, temporary, expected):
    "Under a sub-path, and isolated with threads"
    (temporary/'site'/'deep').mkdir(parents=True)
    shutil.copytree(folder, temporary/'site'/'deep'/'a game')
    out = []
    for address in (serve(temporary/'site')+'deep/a%20game/', serve(folder, Isolated)+'?backend=wasm'):
        with Page(browser, address) as p:
            p.press(str(expected['script'][0]+1))
            assert apart(p.pixels(), expected['frames'][1])<=2
            asks_nobody(p, address.split('?')[0])
            out.append(p.text('engine'))
    assert 'threads' in out[1], out
    return ', '.join(out)

def preview(browser, folder, expected):
    "`pvg export web --open`: behind a token, with the policy of the page, isolated, and with nothing but its own files"
    from pvg.export.serve import PageServer
    server = PageServer(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        root = f'http://127.0.0.1:{server.server_port}/'
        with Page(browser, server.address+'?backend=wasm') as p:
            answers = {o: p.context.request.get(o) for o in (server.address, root, f'{root}index.html', f'{server.address}..%2fmodel.safetensors')}
            assert [o.status for o in answers.values()]==[200,404,404,404], answers
            policy = answers[server.address].headers['content-security-policy']
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, policy
            p.press(str(expected['script'][0]+1))
            assert apart(p.pixels(), expected['frames'][1])<=2
            asks_nobody(p, server.address)
            return p.text('engine')
    finally: server.shutdown()

def shots(browser, address, folder):
    "Pictures of the page to look at"
    for width,height in ((1280,800), (390,844)):
        for theme in ('light','dark'):
            with Page(browser, address, viewport=dict(width=width, height=height), color_scheme=theme, has_touch=width<500, is_mobile=width<500) as p:
                p.press('1'); p.press('2')
                p.page.keyboard.press('Tab'); p.page.keyboard.press('Tab')
                p.page.screenshot(path=str(folder/f'web-{theme}-{width}.png'), full_page=True)



def expectation(checkpoint):
    "What a page must show: actions, and the frames that PlaySession makes of them"
    from pvg.play.session import PlaySession
    session = PlaySession(checkpoint)
    n = len(session.names)
    script = [i%n for i in range(n)] + [0, 0, n-1, n//2, n//2, n-1]
    return dict(script=script, frames=[o.tobytes() for o in session.play(script)])

def run(check, browser, folder, options):
    "All checks of an exported page"
    from pvg.export.web import export_web
    place,files = folder/'page',folder/'files'
    files.mkdir()
    report = export_web(folder/'model.safetensors', place, tarball=options.tarball)
    print(report, flush=True)
    def sizes(): assert report.bytes<=30e6 and report.model_bytes<=8e6, str(report)
    expected,facts,address = expectation(folder/'model.safetensors'),json.loads((place/'game.json').read_text()),serve(place)
    check(sizes)
    with Page(browser, address) as p:
        for f,more in ((pixels,[expected]), (undo,[expected]), (hold,[facts]), (keys,[facts]), (text,[facts]), (starts,[facts, expected]), (record,[facts, files]), (asks_nobody,[address])): check(f, p, *more)
    check(phone, browser, address)
    check(trouble, browser, place, files)
    check(hostile, browser, place, files)
    check(places, browser, place, files, expected)
    check(preview, browser, place, expected)
    if options.measure: check(speed, browser, address, 8)
    if options.soak: check(growth, browser, address, options.soak)
    if options.shots: check(shots, browser, address, options.shots)
