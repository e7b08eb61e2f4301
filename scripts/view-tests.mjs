// Tests of the viewer's pages in headless Chromium, over its debugging pipe; nothing besides node and Chromium is needed.
//
//     node scripts/view-tests.mjs ADDRESS [--run FOLDER] [--shots FOLDER] [--case NAME]
//
// ADDRESS is what `brainmvp view` prints. `--run` names the folder of a run that is shown: lines are appended to its
// metrics.jsonl. `--shots` keeps a picture of every page. CHROMIUM names the browser if it is not in the path.

import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

// Without a graphics card, a busy processor takes long to draw.
const PATIENCE_MS = 180_000;

const { values: given, positionals: [address] } = parseArgs({
    allowPositionals: true,
    options: { run: { type: 'string' }, shots: { type: 'string' }, case: { type: 'string' }, dark: { type: 'boolean' }, narrow: { type: 'boolean' } },
});

class Browser {
    #waiting = new Map();
    #last = 0;
    #text = '';
    listeners = [];

    constructor(profile) {
        const flags = ['--headless=new', '--no-sandbox', '--no-first-run', '--hide-scrollbars', '--remote-debugging-pipe',
            '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--disable-background-networking', `--user-data-dir=${profile}`];
        const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'];
        // The browser leaves its own temporary folders behind: they go with the profile.
        this.process = spawn(process.env.CHROMIUM ?? 'chromium', flags, { stdio, env: { ...process.env, TMPDIR: profile } });
        this.process.on('error', (error) => { throw error; });
        this.exited = new Promise((done) => { this.process.on('exit', done); });
        this.process.stdio[4].setEncoding('utf8').on('data', (text) => this.#read(text));
    }

    #read(text) {
        const messages = (this.#text + text).split('\0');
        this.#text = messages.pop();
        for (const message of messages.map((one) => JSON.parse(one))) {
            const waiting = this.#waiting.get(message.id);
            if (!waiting) this.listeners.forEach((listen) => listen(message));
            else if (message.error) waiting.reject(new Error(message.error.message));
            else waiting.resolve(message.result);
            this.#waiting.delete(message.id);
        }
    }

    send(method, params = {}, sessionId = undefined) {
        this.#last += 1;
        const id = this.#last;
        const answer = new Promise((resolve, reject) => { this.#waiting.set(id, { resolve, reject }); });
        this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
        return answer;
    }
}

class Page {
    problems = [];
    // Bytes since a page was opened.
    received = 0;

    static async of(browser, width, height) {
        const page = new Page();
        page.browser = browser;
        const { targetId } = await browser.send('Target.createTarget', { url: 'about:blank' });
        ({ sessionId: page.session } = await browser.send('Target.attachToTarget', { targetId, flatten: true }));
        browser.listeners.push((message) => { if (message.sessionId === page.session) page.#hear(message); });
        for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await page.send(`${domain}.enable`);
        await page.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
        return page;
    }

    send(method, params) {
        return this.browser.send(method, params, this.session);
    }

    #hear({ method, params }) {
        if (method === 'Network.requestWillBeSent') {
            const { protocol, host } = new URL(params.request.url);
            const isOurs = ['data:', 'blob:', 'about:'].includes(protocol) || host === new URL(address).host;
            if (!isOurs) this.problems.push(`asked another host: ${params.request.url}`);
        }
        if (method === 'Network.loadingFinished') this.received += params.encodedDataLength;
        const isError = { 'Runtime.exceptionThrown': true, 'Log.entryAdded': params?.entry?.level === 'error',
            'Runtime.consoleAPICalled': ['error', 'assert', 'warning'].includes(params?.type) }[method];
        if (isError) this.problems.push(`${method}: ${JSON.stringify(params).slice(0, 600)}`);
    }

    async value(expression) {
        const { result, exceptionDetails } = await this.send('Runtime.evaluate',
            { expression, awaitPromise: true, returnByValue: true });
        if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
        return result.value;
    }

    async until(expression) {
        const start = Date.now();
        let last;
        while (Date.now() - start < PATIENCE_MS) {
            last = await this.value(expression).catch((error) => error.message);
            if (last === true) return;
            await new Promise((done) => { setTimeout(done, 150); });
        }
        throw new Error(`not so after ${PATIENCE_MS / 1000} s: ${expression} (${last}); the page has ${
            await this.value('document.querySelector(".problem")?.textContent')}; ${this.problems.join('; ')}`);
    }

    async open(name, isReady) {
        const start = Date.now();
        this.received = 0;
        await this.send('Page.navigate', { url: address + name });
        await this.until(`location.href.startsWith(${JSON.stringify(address)}) && document.readyState === 'complete' && (${isReady})`);
        const title = name.split(/[?#]/)[0] || 'cases';
        console.log(`${title}: ${Math.round(this.received / 1000)} kB in ${((Date.now() - start) / 1000).toFixed(1)} s`);
    }

    async key(key, code = key) {
        const text = key.length === 1 ? key : undefined;
        await this.send('Input.dispatchKeyEvent', { type: 'keyDown', key, code, text });
        await this.send('Input.dispatchKeyEvent', { type: 'keyUp', key, code });
    }

    async click(x, y) {
        for (const type of ['mousePressed', 'mouseReleased']) {
            await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', buttons: 1, clickCount: 1 });
        }
    }

    // The picture of an element, how many colours it has, and how many of its pixels are not grey.
    async picture(selector) {
        const box = await this.value(`(() => { const e = document.querySelector(${JSON.stringify(selector)});
            e.scrollIntoView({ block: 'center' }); const { x, y, width, height } = e.getBoundingClientRect();
            return { x: x + scrollX, y: y + scrollY, width, height }; })()`);
        const { data } = await this.send('Page.captureScreenshot', { clip: { ...box, scale: 1 }, captureBeyondViewport: true });
        const counted = await this.value(`new Promise((done) => { const image = new Image(); image.onload = () => {
            const canvas = new OffscreenCanvas(image.width, image.height); const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, image.width, image.height);
            let coloured = 0;
            for (let at = 0; at < data.length; at += 4) {
                const [r, g, b] = data.subarray(at, at + 3);
                if (Math.max(r, g, b) - Math.min(r, g, b) > 40) coloured += 1;
            }
            done({ colours: new Set(new Uint32Array(data.buffer)).size, coloured }); }; image.src = 'data:image/png;base64,${data}'; })`);
        return { data, ...counted };
    }

    async shot(name) {
        if (!given.shots) return;
        const full = await this.send('Page.captureScreenshot', { format: 'webp', quality: 70 });
        writeFileSync(join(given.shots, `${name}.webp`), Buffer.from(full.data, 'base64'));
    }
}

function check(isTrue, what) {
    if (!isTrue) throw new Error(what);
    console.log(`ok: ${what}`);
}

async function casesPage(page) {
    const rows = 'document.querySelectorAll("#cases tbody tr").length';
    await page.open('', `${rows} > 0`);
    const all = await page.value(rows);
    const set = (name, value) => page.value(`(() => { const f = document.querySelector('#filters').elements[${JSON.stringify(name)}];
        if (f.type === 'checkbox') f.checked = ${JSON.stringify(value)}; else f.value = ${JSON.stringify(value)};
        f.dispatchEvent(new Event('input', { bubbles: true })); return ${rows}; })()`);
    const first = await page.value('document.querySelector("#cases tbody a").textContent');
    check(await set('name', first) < all || all === 1, 'the name filters');
    check(await set('name', 'there is no such case') === 0, 'a name that no case has leaves none');
    await set('name', '');
    const left = await set('quarantined', true);
    const reasons = await page.value('document.querySelectorAll("#cases tbody .chip.bad").length');
    check(left < all && reasons === left, `cases that were left out are shown alone: ${left} of ${all}`);
    check(await set('quarantined', false) === all, 'without a filter all cases are shown');
    const below = await set('below', '0');
    check(below === 0, 'no case has a Dice below 0');
    await set('below', '');
    await page.value('document.querySelector("#cases th button").click()');
    check(await page.value('document.querySelector("#cases th").ariaSort') === 'ascending', 'a column sorts');
    await page.value('document.querySelector("#filters").reset()');
    await page.shot('cases');
}

// The picture of the first view, as soon as it is as expected, or the last that was seen.
async function pictureWhen(page, isExpected) {
    for (let tries = 0; ; tries += 1) {
        const picture = await page.picture('#views canvas');
        if (tries === 40 || isExpected(picture)) return picture;
        await new Promise((done) => { setTimeout(done, 250); });
    }
}

async function casePage(page) {
    const chosen = given.case
        ? `[...document.querySelectorAll('#cases tbody a')].find((a) => a.textContent === ${JSON.stringify(given.case)})`
        : 'document.querySelector("#cases tbody a")';
    const href = await page.value(`${chosen}.getAttribute('href')`);
    await page.open(href, 'document.querySelector("#views").dataset.ready === "yes"');
    const before = await page.picture('#views canvas');
    check(before.colours > 50, `the canvas shows a volume: ${before.colours} colours`);
    const place = () => page.value('document.querySelector("#place").textContent');
    const at = await place();
    await page.key('ArrowLeft');
    await page.key('ArrowLeft');
    check(await place() !== at, 'an arrow key moves the cross-hair');
    const moved = await page.picture('#views canvas');
    check(moved.data !== before.data, 'the moved cross-hair is drawn');
    const box = await page.value(`(() => { const { x, y, width, height } = document.querySelector('#views canvas').getBoundingClientRect();
        return { x, y, width, height }; })()`);
    const here = await place();
    // Where the planes are depends on the size of the page.
    for (const [right, down] of [[0.22, 0.57], [0.2, 0.2], [0.3, 0.35], [0.75, 0.25]]) {
        if (await place() === here) await page.click(box.x + box.width * right, box.y + box.height * down);
        await new Promise((done) => { setTimeout(done, 300); });
    }
    await page.until(`document.querySelector("#place").textContent !== ${JSON.stringify(here)}`);
    check(true, 'a click moves the cross-hair');
    // A rendering shows all of an overlay; planes only what lies at the cross-hair.
    await page.key('5');
    await new Promise((done) => { setTimeout(done, 600); });
    const count = await page.value('document.querySelectorAll("#overlays input").length');
    for (let index = 0; index < count; index += 1) {
        const box = `document.querySelectorAll('#overlays input')[${index}]`;
        const name = await page.value(`${box}.value`);
        const off = await page.picture('#views canvas');
        await page.value(`${box}.click()`);
        const on = await pictureWhen(page, ({ coloured }) => coloured > off.coloured + 20);
        const problem = await page.value('document.querySelector(".problem")?.textContent ?? null');
        check(on.coloured > off.coloured + 20, `the overlay '${name}' appears${problem ? `, but: ${problem}` : ''}`);
        await page.shot(`case-overlay-${index + 1}`);
        await page.value(`${box}.click()`);
        const isGone = ({ coloured }) => coloured < off.coloured + 0.1 * (on.coloured - off.coloured);
        check(isGone(await pictureWhen(page, isGone)), `the overlay '${name}' disappears`);
    }
    await page.key('1');
    await new Promise((done) => { setTimeout(done, 600); });
    for (const key of ['5', '2', '1']) {
        const last = await page.picture('#views canvas');
        await page.key(key);
        await new Promise((done) => { setTimeout(done, 600); });
        check((await page.picture('#views canvas')).data !== last.data, `key ${key} changes the view`);
        if (key === '5') await page.shot('case-render');
    }
    const stages = await page.value('document.querySelectorAll("#stages button").length');
    if (stages > 2) {
        await page.value('delete document.querySelector("#views").dataset.ready; [...document.querySelectorAll("#stages button")].at(-1).click()');
        await page.until('document.querySelector("#views").dataset.ready === "yes"');
        check(await page.value('document.querySelectorAll("#views canvas").length') > 1, 'original and prepared side by side');
        await page.value(`document.querySelector('#overlays input[value="difference from the label"]')?.click()`);
        await new Promise((done) => { setTimeout(done, 1500); });
        await page.shot('case-both');
    }
}

async function runsPage(page) {
    await page.open('runs.html', 'document.querySelectorAll("#runs tbody tr").length > 0 || document.querySelector("main > p.muted") !== null');
    if (await page.value('document.querySelectorAll("#runs").length') === 0) return;
    await page.until('document.querySelectorAll("#chart canvas").length > 0');
    const shown = await page.value('document.querySelectorAll("#runs tbody input:checked").length');
    check(shown > 0, 'the curves of a run are drawn');
    if (given.run) {
        const step = 1 + await page.value('Number(/\\d+/.exec(document.querySelector("#live").textContent)[0])');
        appendFileSync(join(given.run, 'metrics.jsonl'), `{"step":${step},"epoch":0,"loss":0.5,"lr":0.001}\n`);
        await page.until(`document.querySelector("#live").textContent.includes('step ${step}')`);
        check(true, 'a line that is appended appears');
    }
    await page.value('[...document.querySelectorAll("#runs tbody input")].find((box) => !box.checked)?.click()');
    await new Promise((done) => { setTimeout(done, 1500); });
    await page.shot('runs');
    await page.value('[...document.querySelectorAll("#pictures figure")].find((one) => one.textContent.startsWith("templates"))?.scrollIntoView()');
    await page.shot('runs-pictures');
}

async function studyPage(page) {
    await page.open('study.html', 'document.querySelector("#content").children.length > 0');
    check(await page.value('document.querySelectorAll("main .problem").length') === 0, 'the page of studies is there');
    await page.shot('study');
}

const profile = mkdtempSync(join(tmpdir(), 'view-tests-'));
if (given.shots) mkdirSync(given.shots, { recursive: true });
const browser = new Browser(profile);
let code = 0;
try {
    const page = await Page.of(browser, given.narrow ? 820 : 1400, given.narrow ? 1100 : 950);
    if (given.dark) await page.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: 'dark' }] });
    for (const test of [casesPage, casePage, runsPage, studyPage]) {
        await test(page);
        check(page.problems.length === 0, `no error and no other host: ${test.name}${page.problems.map((text) => `\n  ${text}`).join('')}`);
    }
} catch (error) {
    console.error(`failed: ${error.message}`);
    code = 1;
} finally {
    browser.send('Browser.close').catch(() => {});
    const patience = setTimeout(() => browser.process.kill('SIGKILL'), 10_000);
    await browser.exited;
    clearTimeout(patience);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
process.exit(code);
