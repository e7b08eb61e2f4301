// A case: its volumes side by side with linked cross-hairs, overlays, and what is known of it.

import { ask, askBytes, showProblem, start } from './api.js';
import { element } from './elements.js';
import { facts } from './case_facts.js';
import { PLANES, VolumeView, colourOf } from './volume_view.js';

// A browser draws in about 16 canvases at once.
const MOST_VIEWS = 6;

const STAGES = { original: 'Original', prepared: 'Prepared', prediction: 'Prediction' };

const DIFFERENCES = { 1: ['missed', [86, 180, 233]], 2: ['added', [230, 159, 0]], 3: ['another value', [204, 121, 167]] };

const state = {
    // The groups whose images are shown, by their number.
    sources: [],
    plane: 'planes',
    images: new Set(),
    overlays: new Set(),
    views: [],
    mm: null,
};

let shownCase;
const bytes = new Map();

const by = (selector) => document.querySelector(selector);

// The content of a volume, fetched once.
function content(volume) {
    if (!bytes.has(volume.address)) bytes.set(volume.address, askBytes(volume.address));
    return bytes.get(volume.address);
}

const nameOf = (volume) => volume.address.split('/').pop();

// Groups with images, and what each is called. Predictions alone are shown by themselves.
function sources() {
    const known = shownCase.groups.map((group, number) => ({ ...group, number }));
    const shown = known.filter(({ stage }) => stage !== 'prediction');
    const found = (shown.length ? shown : known).filter((source) => imagesOf(source).length);
    const isOne = ({ stage }) => found.filter((other) => other.stage === stage).length === 1;
    return found.map((source) => ({ ...source,
        name: isOne(source) ? STAGES[source.stage] : `${STAGES[source.stage]} (${source.title})` }));
}

const sourcesShown = () => sources().filter(({ number }) => state.sources.includes(number));

function imagesOf({ volumes }) {
    const images = volumes.filter(({ role }) => role === 'image');
    return images.length ? images : volumes.filter(({ role }) => role === 'label').slice(0, 1);
}

// Predictions are on the grid of the original images.
function overlaysOf(source) {
    const predictions = shownCase.groups.filter(({ stage }) => stage === 'prediction' && source.stage === 'original');
    const groups = [source, ...predictions];
    return groups.flatMap((group) => group.volumes.map((volume) => ({ ...volume, group })))
        .filter(({ role }) => role !== 'image');
}

// Overlays of several predictions are told apart by where they come from.
function keyOf(volume) {
    const predictions = shownCase.groups.filter(({ stage }) => stage === 'prediction');
    const isOne = volume.group.stage === 'prediction' && predictions.length > 1;
    return isOne ? `${volume.name} (${volume.group.title})` : volume.name;
}

const distinctNames = (volumes, name) => [...new Set(volumes.map(name))];

function drawTools() {
    const known = sources();
    const all = known.map(({ number }) => number);
    if (!state.sources.length) state.sources = all.slice(0, 1);
    const several = known.length === 2 ? 'Both' : 'All';
    const stages = [...known.map(({ name, number }) => [name, [number]]), ...(known.length > 1 ? [[several, all]] : [])];
    const pressed = (chosen, text, press) =>
        element('button', { type: 'button', 'aria-pressed': String(chosen), onclick: press }, text);
    by('#stages').replaceChildren(element('legend', {}, 'Stage'), ...stages.map(([name, numbers]) =>
        pressed(String(numbers) === String(state.sources), name, () => {
            state.sources = numbers;
            drawTools();
            drawViews();
        })));
    by('#planes').replaceChildren(element('legend', {}, 'View'), ...Object.entries(PLANES).map(([plane, { title }]) =>
        pressed(plane === state.plane, title, () => choosePlane(plane))));
    const images = distinctNames(sourcesShown().flatMap(imagesOf), ({ name }) => name);
    by('#images').replaceChildren(element('legend', {}, 'Images'), ...images.map((name) =>
        check(name, state.images, () => drawViews())));
    const overlays = distinctNames(sourcesShown().flatMap(overlaysOf), keyOf);
    by('#overlays').replaceChildren(element('legend', {}, 'Overlays'), ...overlays.map((key) =>
        check(key, state.overlays, () => showOverlays())));
    by('#overlays').hidden = overlays.length === 0;
}

function check(name, chosen, changed) {
    const box = element('input', { type: 'checkbox', value: name, checked: chosen.has(name) });
    box.onchange = () => {
        if (box.checked) chosen.add(name);
        else chosen.delete(name);
        changed();
    };
    return element('label', { className: 'check' }, box, name);
}

function choosePlane(plane) {
    state.plane = plane;
    drawTools();
    state.views.forEach(({ view }) => view.setPlane(plane));
}

async function drawViews() {
    state.views.forEach(({ view }) => view.close());
    const shown = sourcesShown();
    const tiles = shown.flatMap((source) => imagesOf(source)
        .filter(({ name }) => state.images.has(name))
        .map((image) => ({ source, image })))
        .slice(0, 2 * MOST_VIEWS);
    // Sources below each other, the same image in the same column where there is room.
    by('#views').classList.toggle('rows', shown.length > 1 && tiles.length === shown.length * state.images.size);
    by('#views').style.setProperty('--images', state.images.size);
    const views = [];
    state.views = views;
    const figures = tiles.map(({ source, image }) => {
        const title = shown.length > 1 ? `${image.name}, ${source.name.toLowerCase()}` : image.name;
        const canvas = element('canvas', { tabIndex: 0, role: 'img', 'aria-label': `${title}; arrow keys move the cross-hair` });
        return { source, image, title, canvas, figure: element('figure', {}, element('figcaption', {}, title), canvas) };
    });
    by('#views').classList.toggle('single', figures.length === 1);
    by('#views').replaceChildren(...figures.map(({ figure }) => figure));
    await Promise.all(figures.map(async ({ source, image, title, canvas, figure }) => {
        try {
            const view = await VolumeView.on(canvas);
            await view.show(await content(image), nameOf(image));
            // Another choice was made in the meantime.
            if (state.views !== views) return view.close();
            view.setPlane(state.plane);
            views.push({ view, source, title, figure });
            link(view);
        } catch (error) {
            showProblem(error, figure);
        }
    }));
    if (state.views !== views) return;
    views.sort((a, b) => figures.findIndex(({ title }) => title === a.title) - figures.findIndex(({ title }) => title === b.title));
    if (state.mm) views.forEach(({ view }) => view.goTo(state.mm));
    else views[0]?.view.report();
    applyWindow();
    await showOverlays();
    by('#views').dataset.ready = 'yes';
}

function link(view) {
    const others = () => state.views.filter((other) => other.view !== view);
    view.onMove = (mm) => {
        state.mm = mm;
        others().forEach((other) => other.view.goTo(mm));
        const values = state.views.map((shown) => `${shown.title} ${number(shown.view.value)}`);
        const [x, y, z] = mm.map((value) => value.toFixed(1));
        by('#place').textContent = `right ${x}, front ${y}, up ${z} mm: ${values.join(', ')}`;
    };
    view.onTurn = (azimuth, elevation) => others().forEach((other) => other.view.turnTo(azimuth, elevation));
}

const number = (value) => (value === undefined ? '–' : String(Number(value.toPrecision(4))));

async function showOverlays() {
    const opacity = Number(by('#opacity').value) / 100;
    await Promise.all(state.views.map(async ({ view, source, figure }) => {
        for (const volume of overlaysOf(source)) {
            const key = keyOf(volume);
            if (state.overlays.has(key) && !view.hasOverlay(key)) {
                try {
                    await add(view, key, volume);
                } catch (error) {
                    showProblem(error, figure);
                }
            }
            view.setOpacity(key, state.overlays.has(key) ? opacity : 0);
        }
    }));
    drawLegend();
}

async function add(view, key, volume) {
    const kind = volume.role === 'probability' ? 'share' : 'labels';
    const of = Object.entries(DIFFERENCES).map(([value, [, colour]]) => [value, colour]);
    const colours = volume.role === 'difference' ? Object.fromEntries(of) : undefined;
    await view.addOverlay(key, await content(volume), nameOf(volume), kind, colours);
}

function drawLegend() {
    const swatch = ([r, g, b]) => {
        const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
        const square = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
        Object.entries({ width: '100%', height: '100%', fill: `rgb(${r} ${g} ${b})` })
            .forEach(([name, value]) => square.setAttribute(name, value));
        svg.setAttribute('aria-hidden', 'true');
        svg.append(square);
        return svg;
    };
    const shown = sourcesShown().flatMap(overlaysOf).filter((volume) => state.overlays.has(keyOf(volume)));
    const roles = new Set(shown.map(({ role }) => role));
    const entries = [];
    if (roles.has('label')) {
        entries.push(...Object.entries(shownCase.labels).map(([value, name]) => [colourOf(Number(value)), `${value}: ${name}`]));
    }
    if (roles.has('difference')) entries.push(...Object.values(DIFFERENCES).map(([name, colour]) => [colour, name]));
    if (roles.has('brain_mask')) entries.push([colourOf(1), 'brain mask']);
    by('#legend').replaceChildren(...entries.map(([colour, text]) => element('li', {}, swatch(colour), text)));
}

function applyWindow() {
    const [darkest, brightest] = ['#darkest', '#brightest'].map((id) => Number(by(id).value) / 100);
    state.views.forEach(({ view }) => view.setWindow(darkest, brightest));
}

function reset() {
    [['#opacity', 50], ['#darkest', 0], ['#brightest', 100]].forEach(([id, value]) => { by(id).value = value; });
    applyWindow();
    showOverlays();
}

// The neighbours in the list that was shown last.
function neighbours(number) {
    const order = JSON.parse(sessionStorage.getItem('cases') ?? '[]');
    const at = order.indexOf(number);
    const to = (id, other) => { if (at >= 0 && other !== undefined) by(id).href = `case.html?case=${other}`; };
    to('#previous', order[at - 1]);
    to('#next', order[at + 1]);
}

const KEYS = {
    ArrowLeft: () => step([-1, 0, 0]),
    ArrowRight: () => step([1, 0, 0]),
    ArrowUp: () => step([0, 1, 0]),
    ArrowDown: () => step([0, -1, 0]),
    PageUp: () => step([0, 0, 1]),
    PageDown: () => step([0, 0, -1]),
    1: () => choosePlane('planes'),
    2: () => choosePlane('axial'),
    3: () => choosePlane('coronal'),
    4: () => choosePlane('sagittal'),
    5: () => choosePlane('render'),
    l: () => toggle('label'),
    p: () => toggle('prediction'),
    d: () => toggle('difference'),
    b: swapStage,
    n: () => by('#next').click(),
    N: () => by('#previous').click(),
};

function step(voxels) {
    state.views[0]?.view.step(voxels);
}

function toggle(start) {
    const boxes = [...document.querySelectorAll('#overlays input')];
    boxes.find((box) => box.value.startsWith(start))?.click();
}

function swapStage() {
    const buttons = [...document.querySelectorAll('#stages button')];
    const at = buttons.findIndex((button) => button.getAttribute('aria-pressed') === 'true');
    const ways = sources().length;
    buttons[at < ways ? (at + 1) % ways : 0]?.click();
}

function keys() {
    const rows = [
        ['Left, Right arrow', 'left and right, 1 voxel'], ['Up, Down arrow', 'to the front and back, 1 voxel'],
        ['Page up, Page down', 'up and down, 1 slice'], ['1 to 5', 'three planes, axial, coronal, sagittal, render'],
        ['L, P, D', 'label, prediction, difference on and off'], ['B', 'original and prepared'],
        ['N, Shift N', 'next and previous case of the list'],
    ];
    by('#keys').replaceChildren(...rows.flatMap(([key, what]) => [element('dt', {}, key), element('dd', {}, what)]));
    document.addEventListener('keydown', (event) => {
        const isTyping = event.target.closest('input:not([type="checkbox"]), select, textarea');
        if (isTyping || event.ctrlKey || event.altKey || event.metaKey || !state.views.length) return;
        const act = KEYS[event.key];
        // Arrows also scroll a page: they are taken only where a view has the focus, or nothing has.
        const isFree = event.target === document.body || event.target.tagName === 'CANVAS';
        if (!act || (event.key.length > 1 && !isFree)) return;
        event.preventDefault();
        event.stopPropagation();
        act();
    }, { capture: true });
}

start(async () => {
    const number = Number(new URLSearchParams(location.search).get('case') ?? 0);
    const answer = await ask(`api/cases/${number}`);
    shownCase = answer.case;
    document.title = `${answer.id} - brainmvp`;
    by('h1').textContent = answer.id;
    neighbours(number);
    by('#facts').append(...facts(shownCase));
    keys();
    const images = distinctNames(sources().flatMap(imagesOf), ({ name }) => name);
    if (!images.length) {
        by('#tools').hidden = true;
        by('#views').append(element('p', { className: 'muted' }, 'No volume of this case is known here.'));
        return;
    }
    images.slice(0, MOST_VIEWS).forEach((name) => state.images.add(name));
    by('#opacity').oninput = showOverlays;
    by('#darkest').oninput = applyWindow;
    by('#brightest').oninput = applyWindow;
    by('#reset').onclick = reset;
    drawTools();
    await drawViews();
});
